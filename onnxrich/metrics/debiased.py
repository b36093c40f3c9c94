"""D_LR without the bias of a finite sample, from blocks of rows that are independent of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics import richness
from onnxrich.metrics._metric import Metric
from onnxrich.metrics._sample import Sample
from onnxrich.metrics._span import span
from onnxrich.moments import Array, Moments

# With fewer blocks too few pairs are left.
LEAST_BLOCKS = 4


@dataclass(frozen=True)
class Limit:
    """CKA(T, T_MP) of n rows: its parts as pairs, of a limit and of n times what n rows add to it.

    Attributes:
        numerator: ‖Cov(φ, g)‖_F², g an orthonormal basis of the span of the outputs.
        squared_norm: ‖Cov(φ, φ)‖_F².
        scale: ‖Cov(g, g)‖_F, which hardly depends on n.
    """

    numerator: tuple[float, float]
    squared_norm: tuple[float, float]
    scale: float

    def at(self, n: float) -> float:
        """CKA to be expected of n rows, which may be infinite."""
        numerator, squared_norm = (limit + excess / n for limit, excess in (self.numerator, self.squared_norm))
        return float(numerator / (np.sqrt(squared_norm) * self.scale))


def d_lr_debiased(sample: Sample) -> float | None:
    """D_LR as it would be of infinitely many rows; None with fewer than four blocks, or blocks of different mixtures.

    Where it breaks: with few rows (n ≲ 4C, or n² ≲ p) it scatters, and it is None when its denominator's estimate is
    not positive. Rows within a block may depend on each other (tokens of a sentence), rows of different blocks may not.
    """
    limit = sample.once(of_infinitely_many)
    return None if limit is None else float(np.clip(1 - limit.at(np.inf), 0, 1))


def bias(sample: Sample, n: float) -> float | None:
    """What is to be expected of `d_lr` on n rows, less what is to be expected of it on infinitely many."""
    limit = sample.once(of_infinitely_many)
    return None if limit is None else limit.at(np.inf) - limit.at(n)


def of_infinitely_many(sample: Sample) -> Limit | None:
    """Estimates of the parts of CKA(T, T_MP) that are free of bias to order 1/n."""
    # With g an orthonormal basis of the span of the outputs, D_LR → 1 − ‖Cov(φ,g)‖²/(‖Cov(φ,φ)‖ ‖Cov(g,g)‖). A sample's
    # ‖C_φφ/n‖² exceeds ‖Cov(φ,φ)‖² by about (tr Cov)²/n, for it holds the square of each entry's error, and the
    # numerator's excess is p·r/n in the same way. The numerator gains relatively more: D_LR comes out too low, and as
    # p/n is no small number, no expansion in 1/n mends that.
    #   Blocks b = 1..B of n_b independent rows have scatters C_b, each about its own mean, with E C_b = (n_b − 1) Cov.
    # The errors of two blocks are independent, so E⟨C_b, C_c⟩ = (n_b − 1)(n_c − 1) ‖Cov‖² for b ≠ c, without excess;
    # and Σ_{b≠c} ⟨C_b, C_c⟩ = ‖Σ_b C_b‖² − Σ_b ‖C_b‖² needs no pair to be formed. Likewise the numerator.
    #   What is left is small, C/n and 1/n: g is estimated from the same rows, and a ratio and a root are taken. Of that
    # the jackknife over blocks (Quenouille 1956) removes the first order.
    moments = sample.moments
    usable = sum(part.moments.n > 1 for part in sample.parts)
    if usable < LEAST_BLOCKS or sample.ordered or sample.once(richness.measured).d_lr is None:
        return None
    pairs = sample.once(_pairs)
    whole, left_out = pairs.cka(), [pairs.cka(index) for index in range(len(sample.parts))]
    if whole is None or None in left_out:
        return None
    shares = pairs.counts / moments.n
    corrected = len(shares) * whole - float((1 - shares) @ np.array(left_out, dtype=np.float64))
    numerator, squared_norm, scale = pairs.estimates()
    numerator *= corrected / whole
    basis = np.sqrt(moments.n) * span(moments, "outputs").coefficients
    plain = float(np.sum((sample.cross("outputs") @ basis) ** 2)) / moments.n**2
    norm = float(np.sum(sample.scatter**2)) / moments.n**2
    return Limit((numerator, (plain - numerator) * moments.n), (squared_norm, (norm - squared_norm) * moments.n), scale)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Sums over all pairs of different blocks, and what is needed to leave a block out of them.

    Attributes:
        counts: rows of each block, float64 array of shape (B,).
        squares: ‖C_b‖², float64 array of shape (B,).
        along: ⟨Σ_c C_c, C_b⟩, float64 array of shape (B,).
        cross: Σ_b X_b, X_b = C_φf of block b: float64 array of shape (p, C).
        crosses: the X_b.
        outputs: moments of the outputs alone, of all rows and of each block.
    """

    counts: Array
    squares: Array
    along: Array
    cross: Array
    crosses: tuple[Array, ...]
    outputs: tuple[Moments, tuple[Moments, ...]]

    def cka(self, without: int | None = None) -> float | None:
        """CKA(T, T_MP), without a block when one is named; None where the norm's estimate is not positive."""
        numerator, squared_norm, scale = self.estimates(without)
        return numerator / (float(np.sqrt(squared_norm)) * scale) if squared_norm > 0 and scale > 0 else None

    def estimates(self, without: int | None = None) -> tuple[float, float, float]:
        """‖Cov(φ, g)‖² and ‖Cov(φ, φ)‖² without excess, and ‖Cov(g, g)‖."""
        kept = np.arange(len(self.counts)) != (-1 if without is None else without)
        freedom = self.counts[kept] - 1
        pairs = float(freedom.sum() ** 2 - np.sum(freedom**2))
        total, outputs = self.cross, self.outputs[0]
        norm = float(self.along.sum() - self.squares.sum())
        if without is not None:
            norm -= 2 * float(self.along[without] - self.squares[without])
            total, outputs = total - self.crosses[without], _less(outputs, self.outputs[1][without])
        basis = np.sqrt(outputs.n) * span(outputs, "outputs").coefficients
        crosses = [cross @ basis for cross, keep in zip(self.crosses, kept, strict=True) if keep]
        numerator = float(np.sum((total @ basis) ** 2)) - sum(float(np.sum(cross**2)) for cross in crosses)
        scale = float(np.linalg.norm(basis.T @ outputs.centered("outputs", "outputs") @ basis)) / outputs.n
        return numerator / pairs, norm / pairs, scale


def _pairs(sample: Sample) -> _Pairs:
    # Σ_b C_b = C − UUᵀ, U's columns √n_b (m_b − m): the scatter of the blocks' means is not in the C_b.
    counts = np.array([part.moments.n for part in sample.parts])
    means = np.stack([part.moments.mean("features") for part in sample.parts], axis=1)
    between = (means - sample.moments.mean("features")[:, None]) * np.sqrt(counts)
    total = sample.scatter - between @ between.T
    parts = [part.moments for part in sample.parts]
    scatters = (part.centered("features", "features") for part in parts)
    sums = np.array([(np.vdot(scatter, scatter), np.vdot(total, scatter)) for scatter in scatters])
    crosses = tuple(part.centered("features", "outputs") for part in parts)
    outputs = (_outputs(sample.moments), tuple(_outputs(part.about(sample.moments.shift)) for part in parts))
    return _Pairs(counts, sums[:, 0], sums[:, 1], np.sum(crosses, axis=0), crosses, outputs)


def _outputs(moments: Moments) -> Moments:
    """The moments of the outputs alone."""
    used = np.r_[0, 1 + moments.p : 1 + moments.p + moments.C]
    return replace(
        moments,
        matrix=moments.matrix[np.ix_(used, used)],
        shift=moments.shift[used],
        p=0,
        K=0,
        targets=None,
        tallies={},
    )


def _less(moments: Moments, block: Moments) -> Moments:
    return replace(moments, matrix=moments.matrix - block.matrix)


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # The correction by the jackknife moves little when a block is left out: the sums over pairs alone tell the scatter.
    value, whole = d_lr_debiased(sample), sample.once(_pairs).cka()
    assert value is not None and whole is not None  # noqa: S101 - asked for defined metrics only

    def debiased(other: Sample) -> float:
        found = other.once(_pairs).cka()
        return float("nan") if found is None else value + whole - found

    return debiased


METRICS = (
    Metric(
        "d_lr_debiased", "richness", "D_LR as infinitely many rows would have it, from pairs of independent blocks",
        d_lr_debiased, "share", first_order=_first_order, beyond=True,
    ),
)  # fmt: skip
