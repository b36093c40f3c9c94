"""Dynamical richness D_LR (Nam et al. 2026, arXiv 2410.04264) from the moment matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxrich.errors import DataError, Notice
from onnxrich.metrics.base import Metric, Sample, inner_product
from onnxrich.metrics.functions import column_noise
from onnxrich.metrics.linalg import Span, output_span
from onnxrich.moments.matrix import Moments
from onnxrich.moments.precision import EPS

# D_LR is biased if n is not much larger than p. At ten rows a feature the bias is about 0.02, of either sign.
ROWS_PER_FEATURE = 10
# Outputs that vary by less than so many times their rounding get a notice.
_COARSE = 10


@dataclass(frozen=True, eq=False)
class Richness:
    """D_LR of a sample, and the quantities that it rests on.

    Attributes:
        d_lr: 1 − CKA(T, T_MP); 0 = richest, 1 = laziest. None if the features or the outputs do not vary.
        d_lr_centered: the same with the span of the centred outputs, so that output biases do not count.
        utilized_variance: u, the share of the features' variance that lies in the span of the centred outputs.
        participation_ratio: PR = (tr T)²/tr(T²) of the centred features; 1 − d_lr_centered = u·√(PR/r).
        rank: numerical rank of the outputs.
        rank_centered: numerical rank r of the centred outputs.
        gap: relative singular values of the outputs just above and below the cut.
        tolerance: relative singular value at which the cut was made.
        n: number of rows.
        p: number of features.
        notices: warnings for the reader of the numbers.
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

    @property
    def features_vary(self) -> bool:
        """Whether the features vary by more than rounding."""
        return self.participation_ratio is not None


def richness(features: ArrayLike, outputs: ArrayLike) -> Richness:
    """Compute D_LR of features and outputs from arrays.

    Args:
        features: array of shape (n, p), the penultimate layer.
        outputs: array of shape (n, C), the last linear layer before any softmax. Its dtype sets the level of rounding
            noise, so pass it as the model computed it.

    Raises:
        DataError: if the arrays are no tables of finite numbers, differ in their number of rows, or have no rows.

    >>> import numpy as np
    >>> collapsed = np.repeat(np.eye(3), 50, axis=0)      # every sample sits on its class mean
    >>> round(richness(collapsed, 2 * collapsed).d_lr, 12)
    0.0
    """
    moments = Moments.from_rows(features, outputs)
    if not moments.n:
        raise DataError("the arrays have no rows", "at least one row of features and outputs", "Pass arrays with rows.")
    return compute_richness(Sample.from_moments(moments))


def compute_richness(sample: Sample) -> Richness:
    """Compute D_LR of a sample.

    Source: Nam et al. 2026. T is the feature kernel operator with the empirical kernel K = ΦΦᵀ; the minimum-projection
    operator is T_MP[u] = a₁⟨1|u⟩1 + a₂P(u), P the projector onto the span of the outputs; D_LR = 1 − CKA(T, T_MP).
    Centring removes the term in a₁, and a₂ is a scale.
    """
    moments = sample.moments
    raw, centered = output_span(sample), output_span(sample, centered=True)
    trace, norm = float(np.trace(sample.scatter)), float(np.sqrt(sample.squared_norm))
    varies = features_vary(moments, trace)
    coordinates = sample.function_cross @ centered.coefficients
    projected = inner_product(coordinates, coordinates)
    return Richness(
        d_lr=_one_minus_cka(sample, raw, norm=norm) if varies and centered.rank else None,
        d_lr_centered=_one_minus_cka(sample, centered, norm=norm) if varies and centered.rank else None,
        utilized_variance=min(1.0, projected / trace) if varies and centered.rank else None,
        participation_ratio=trace**2 / norm**2 if varies else None,
        rank=raw.rank,
        rank_centered=centered.rank,
        gap=raw.gap,
        tolerance=raw.tolerance,
        n=moments.n,
        p=sample.p,
        notices=(
            *_undefined_notices(moments, centered, varies),
            *_doubt_notices(sample, raw, varies),
            *(_resolution_notices(moments) if varies and centered.rank else ()),
        ),
    )


def _one_minus_cka(sample: Sample, outputs: Span, *, norm: float) -> float | None:
    """1 − CKA(T, T_MP); None if no function of the span varies.

    Args:
        sample: the sample.
        outputs: span of outputs that vary.
        norm: ‖C_φφ‖_F.
    """
    # With g = f·V/s an orthonormal basis of the span, P = ggᵀ on the sample:
    #   tr(HKH·HPH) = ‖Φᵀ H g‖_F² = ‖C_φf V/s‖_F²,   ‖HKH‖_F = ‖C_φφ‖_F,   ‖HPH‖_F = ‖gᵀHg‖_F = ‖(V/s)ᵀ C_ff V/s‖_F.
    coordinates = sample.function_cross @ outputs.coefficients
    numerator = inner_product(coordinates, coordinates)
    projector = outputs.coefficients.T @ sample.functions.centered("outputs", "outputs") @ outputs.coefficients
    scale = float(np.linalg.norm(projector))
    if scale <= 0:
        return None
    return float(np.clip(1 - numerator / (norm * scale), 0, 1))


def features_vary(moments: Moments, trace: float) -> bool:
    """Whether the features vary by more than rounding, given the trace of their centred second moments."""
    # Sums in double leave a variance of about eps² of the mean square in features that are constant.
    square = moments.n * float(np.sum(moments.mean("features") ** 2))
    return moments.n > 1 and trace > (8 * EPS["float64"]) ** 2 * square and trace > 0


def _undefined_notices(moments: Moments, centered: Span, varies: bool) -> list[Notice]:
    """Say why D_LR is undefined."""
    if moments.n <= 1:
        return [Notice("too_few_rows", "A single row has no variance: D_LR is undefined. Pass more data.")]
    if not varies:
        return [Notice("constant_features", "The features are the same for every row: D_LR is undefined.")]
    if not centered.rank:
        return [Notice("constant_outputs", "The outputs are the same for every row: D_LR is undefined.")]
    return []


def few_rows_notices(n: float, p: int, needed: int | None = None, summary: str = "") -> list[Notice]:
    """Say that the rows are too few; none where they suffice. Whatever speaks of the number of rows rests on this.

    Args:
        n: number of rows.
        p: number of features.
        needed: rows that are needed as the blocks of rows measure it. Where they do not, it is `ROWS_PER_FEATURE` a
            feature, a rule of thumb.
        summary: the sentence that says so of the blocks.
    """
    least = ROWS_PER_FEATURE * p
    if n <= 1 or n >= (least if needed is None else min(least, needed)):
        return []
    rule = (
        "D_LR is biased: towards rich (0) where the features are even in size, towards lazy (1) where few of many are "
        f"large, or the outputs are many. As a rule of thumb, use {least:,} rows or more."
    )
    return [Notice("few_rows", f"n/p = {n / p:.2g} rows a feature are few. {rule if needed is None else summary}")]


def _doubt_notices(sample: Sample, raw: Span, varies: bool) -> list[Notice]:
    """Say why D_LR may mislead."""
    notices = few_rows_notices(sample.moments.n, sample.p)
    if varies and raw.is_close_call:
        above, below = raw.gap
        message = (
            f"The rank of the outputs, {raw.rank}, is a close call, and D_LR depends on it: the relative singular "
            f"values on the two sides of the cut at {raw.tolerance:.1e} are {above:.1e} and {below:.1e}."
        )
        notices.append(Notice("narrow_rank_gap", message))
    return notices


def _resolution_notices(moments: Moments) -> list[Notice]:
    """Name outputs that are constant, and those whose variation is close to rounding, beside others that vary."""
    deviation = np.sqrt(moments.variances("outputs"))
    noise, mean = column_noise(moments, "outputs"), np.abs(moments.mean("outputs"))
    is_constant = (deviation <= noise) & (mean > 0)
    is_coarse = (deviation > noise) & (deviation < _COARSE * noise)
    notices = []
    if is_constant.any():
        message = (
            f"{_name_columns(is_constant)} constant in {moments.dtype} (size {mean[is_constant].max():.3g}): such "
            "outputs count together as one output function, the constant. d_lr_centered leaves them out."
        )
        notices.append(Notice("constant_columns", message))
    if is_coarse.any():
        worst = int(np.argmin(np.where(is_coarse, deviation / np.where(noise > 0, noise, 1), np.inf)))
        message = (
            f"{_name_columns(is_coarse)} rounded: {moments.dtype} resolves {mean[worst]:.3g} to {noise[worst]:.1g}, "
            f"and the variation beside it is {deviation[worst]:.1g}. Rank and D_LR are uncertain: export the model "
            "without this offset."
        )
        notices.append(Notice("coarse_columns", message))
    return notices


def _name_columns(chosen: NDArray[np.bool_]) -> str:
    """Subject and verb of a sentence about output columns, by number from 0."""
    numbers = np.flatnonzero(chosen).tolist()
    if len(numbers) == 1:
        return f"Output {numbers[0]} (counted from 0) is"
    rest = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"Outputs {', '.join(map(str, numbers[:5]))}{rest} (counted from 0) are"


METRICS = (
    Metric(
        "d_lr", "richness",
        "dynamical richness: 0 = rich (features rebuilt for the task), 1 = lazy (kept as initialised)",
        compute=lambda sample: sample.cached(compute_richness).d_lr, scale="share",
    ),
    Metric(
        "d_lr_centered", "richness", "D_LR on centred outputs, blind to output biases",
        compute=lambda sample: sample.cached(compute_richness).d_lr_centered, scale="share",
    ),
    Metric(
        "utilized_variance", "richness", "share of the features' variance that the outputs use",
        compute=lambda sample: sample.cached(compute_richness).utilized_variance, scale="share",
    ),
    Metric(
        "rank_outputs", "basis", "number of independent output functions",
        compute=lambda sample: sample.cached(compute_richness).rank, scale="fact",
    ),
    Metric(
        "rank_outputs_centered", "basis", "number of independent centred output functions",
        compute=lambda sample: sample.cached(compute_richness).rank_centered, scale="fact",
    ),
    Metric(
        "rank_gap_above", "basis", "smallest relative singular value of the outputs that was kept",
        compute=lambda sample: sample.cached(compute_richness).gap[0], scale="fact",
    ),
    Metric(
        "rank_gap_below", "basis", "largest one that was taken for rounding noise",
        compute=lambda sample: sample.cached(compute_richness).gap[1], scale="fact",
    ),
    Metric(
        "rank_tolerance", "basis", "relative singular value at which the cut was made",
        compute=lambda sample: sample.cached(compute_richness).tolerance, scale="fact",
    ),
    Metric(
        "rows_per_feature", "basis", "n/p; where it is small, D_LR is biased",
        compute=lambda sample: sample.moments.n / sample.p, scale="fact",
    ),
)  # fmt: skip
