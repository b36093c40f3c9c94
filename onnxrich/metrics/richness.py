"""Dynamical richness D_LR (Nam et al. 2026, arXiv 2410.04264) from the moment matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from onnxrich.errors import DataError, Notice
from onnxrich.metrics.base import Metric, Sample, inner
from onnxrich.metrics.linalg import Span, span
from onnxrich.moments.matrix import Array, Moments
from onnxrich.moments.precision import EPS

# D_LR is biased towards rich when n is not much larger than p; at ten rows a feature the bias is about 0.02.
ROWS_PER_FEATURE = 10


@dataclass(frozen=True, eq=False)
class Richness:
    """How rich the training dynamics were, and what the number rests on.

    Attributes:
        d_lr: 1 − CKA(T, T_MP); 0 = richest, 1 = laziest. None when the features or the outputs don't vary.
        d_lr_centered: the same with the span of the centred outputs, so that output biases don't count.
        utilized_variance: u, the share of the features' variance that lies in the span of the centred outputs.
        participation_ratio: PR = (tr T)²/tr(T²) of the centred features; 1 − d_lr_centered = u·√(PR/r).
        rank: numerical rank of the outputs.
        rank_centered: numerical rank r of the centred outputs.
        gap: relative singular values of the outputs just above and below the cut.
        tolerance: where the cut was made.
        n: number of rows.
        p: number of features.
        notices: what a reader of the numbers should know.
    """

    d_lr: float | None
    d_lr_centered: float | None
    utilized_variance: float | None
    participation_ratio: float | None
    rank: int
    rank_centered: int
    gap: tuple[float | None, float | None]
    tolerance: float
    n: float
    p: int
    notices: tuple[Notice, ...]


def richness(features: ArrayLike, outputs: ArrayLike) -> Richness:
    """D_LR of features and outputs that are at hand as arrays.

    Args:
        features: array of shape (n, p), the penultimate layer.
        outputs: array of shape (n, C), the last linear layer before any softmax. Its dtype decides what counts as
            rounding noise, so pass it as the model computed it.

    Raises:
        DataError: when the arrays are no tables of finite numbers, of the same number of rows, one at least.

    >>> import numpy as np
    >>> collapsed = np.repeat(np.eye(3), 50, axis=0)      # every sample sits on its class mean
    >>> round(richness(collapsed, 2 * collapsed).d_lr, 12)
    0.0
    """
    moments = Moments.from_rows(features, outputs)
    if not moments.n:
        raise DataError("no rows", "at least one row of features and outputs", "Pass arrays with rows.")
    return from_moments(moments)


def from_moments(moments: Moments) -> Richness:
    """D_LR from moments, as `measured` gives it."""
    return measured(Sample(moments))


def measured(sample: Sample) -> Richness:
    """D_LR of a sample.

    Source: Nam et al. 2026. T is the feature kernel operator with the empirical kernel K = ΦΦᵀ; the minimum-projection
    operator is T_MP[u] = a₁⟨1|u⟩1 + a₂P(u), P the projector onto the span of the outputs; D_LR = 1 − CKA(T, T_MP).
    Centring removes the term in a₁, and a₂ is a scale.
    """
    moments = sample.moments
    raw, centered = span(moments, "outputs"), span(moments, "outputs", centered=True)
    trace, norm = float(np.trace(sample.scatter)), float(np.sqrt(sample.squared_norm))
    varies = varies_at_all(moments, trace)
    cross = sample.cross("outputs")
    along = cross @ centered.coefficients
    projected = inner(along, along)
    return Richness(
        d_lr=_distance(moments, raw, cross, norm) if varies else None,
        d_lr_centered=_distance(moments, centered, cross, norm) if varies else None,
        utilized_variance=min(1.0, projected / trace) if varies and centered.rank else None,
        participation_ratio=trace**2 / norm**2 if varies else None,
        rank=raw.rank,
        rank_centered=centered.rank,
        gap=raw.gap,
        tolerance=raw.tolerance,
        n=moments.n,
        p=moments.p,
        notices=tuple(_notices(moments, raw, centered, varies)),
    )


def _distance(moments: Moments, outputs: Span, cross: Array, norm: float) -> float | None:
    # With g = f·V/s an orthonormal basis of the span, P = ggᵀ on the sample:
    #   tr(HKH·HPH) = ‖Φᵀ H g‖_F² = ‖C_φf V/s‖_F²,   ‖HKH‖_F = ‖C_φφ‖_F,   ‖HPH‖_F = ‖gᵀHg‖_F = ‖(V/s)ᵀ C_ff V/s‖_F.
    along = cross @ outputs.coefficients
    numerator = inner(along, along)
    projector = outputs.coefficients.T @ moments.centered("outputs", "outputs") @ outputs.coefficients
    scale = float(np.linalg.norm(projector)) if outputs.rank else 0.0
    if scale <= outputs.tolerance**2:
        return None
    return float(np.clip(1 - numerator / (norm * scale), 0, 1))


def varies_at_all(moments: Moments, trace: float) -> bool:
    """Whether the features vary by more than rounding; `trace` is that of their centred second moments."""
    # Summing in double leaves a variance of about eps² of the mean square in features that are constant.
    square = moments.n * float(np.sum(moments.mean("features") ** 2))
    return moments.n > 1 and trace > (8 * EPS["float64"]) ** 2 * square and trace > 0


def _notices(moments: Moments, raw: Span, centered: Span, varies: bool) -> list[Notice]:
    notices: list[Notice] = []
    if moments.n <= 1:
        notices.append(Notice("too_few_rows", "A single row has no variance: D_LR is undefined. Pass more data."))
    elif not varies:
        notices.append(Notice("constant_features", "The features are the same for every row: D_LR is undefined."))
    elif not centered.rank:
        notices.append(Notice("constant_outputs", "The outputs are the same for every row: D_LR is undefined."))
    if 1 < moments.n < ROWS_PER_FEATURE * moments.p:
        ratio = moments.n / moments.p
        notices.append(
            Notice(
                "few_rows",
                f"n/p = {ratio:.2g} rows a feature: D_LR is biased towards rich (0) below about {ROWS_PER_FEATURE}; "
                f"use {ROWS_PER_FEATURE * moments.p:,} rows or more, or d_lr_debiased.",
            )
        )
    if varies and raw.narrow:
        above, below = raw.gap
        notices.append(
            Notice(
                "narrow_rank_gap",
                f"The rank of the outputs, {raw.rank}, is a close call: relative singular values {above:.1e} | "
                f"{below:.1e} on the two sides of the cut at {raw.tolerance:.1e}. D_LR depends on it.",
            )
        )
    return notices


METRICS = (
    Metric(
        "d_lr", "richness",
        "dynamical richness: 0 = rich (features rebuilt for the task), 1 = lazy (kept as initialised)",
        lambda sample: sample.once(measured).d_lr, "share",
    ),
    Metric(
        "d_lr_centered", "richness", "D_LR on centred outputs, blind to output biases",
        lambda sample: sample.once(measured).d_lr_centered, "share",
    ),
    Metric(
        "utilized_variance", "richness", "share of the features' variance that the outputs use",
        lambda sample: sample.once(measured).utilized_variance, "share",
    ),
    Metric(
        "rank_outputs", "basis", "number of independent output functions",
        lambda sample: sample.once(measured).rank, "fact",
    ),
    Metric(
        "rank_outputs_centered", "basis", "number of independent centred output functions",
        lambda sample: sample.once(measured).rank_centered, "fact",
    ),
    Metric(
        "rank_gap_above", "basis", "smallest relative singular value of the outputs that was kept",
        lambda sample: sample.once(measured).gap[0], "fact",
    ),
    Metric(
        "rank_gap_below", "basis", "largest one that was taken for rounding noise",
        lambda sample: sample.once(measured).gap[1], "fact",
    ),
    Metric(
        "rank_tolerance", "basis", "relative singular value at which the cut was made",
        lambda sample: sample.once(measured).tolerance, "fact",
    ),
    Metric(
        "rows_per_feature", "basis", "n/p; below about 10 D_LR is biased towards rich",
        lambda sample: sample.moments.n / sample.moments.p, "fact",
    ),
)  # fmt: skip
