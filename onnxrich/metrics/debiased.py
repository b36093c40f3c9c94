"""D_LR without the bias of a finite sample, from blocks of rows that are independent of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics import richness
from onnxrich.metrics.base import Metric, Sample, inner
from onnxrich.metrics.linalg import span
from onnxrich.moments.matrix import Array, Moments

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
    """D_LR as it would be of infinitely many rows; None with fewer than four blocks, or dependent ones.

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
    pairs, along = sample.once(_pairs), _along(sample)
    whole, left_out = pairs.cka(), [pairs.without(index, along[index]).cka() for index in range(len(along))]
    if not whole or None in left_out:  # outputs that go along with no feature have nothing to correct
        return None
    shares = pairs.counts / moments.n
    corrected = len(shares) * whole - float((1 - shares) @ np.array(left_out, dtype=np.float64))
    numerator, squared_norm, scale = pairs.estimates()
    numerator *= corrected / whole
    basis = np.sqrt(moments.n) * span(moments, "outputs").coefficients
    plain = float(np.sum((sample.cross("outputs") @ basis) ** 2)) / moments.n**2
    norm = sample.squared_norm / moments.n**2
    return Limit((numerator, (plain - numerator) * moments.n), (squared_norm, (norm - squared_norm) * moments.n), scale)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Sums over all pairs of different blocks.

    Attributes:
        counts: rows of each block, float64 array of shape (B,).
        squares: ‖C_b‖², float64 array of shape (B,).
        square: ‖Σ_b C_b‖².
        crosses: X_b = C_φf of each block, float64 arrays of shape (p, C).
        cross: Σ_b X_b.
        outputs: moments of the outputs alone, of all rows.
        blocks: the same of each block.
    """

    counts: Array
    squares: Array
    square: float
    crosses: tuple[Array, ...]
    cross: Array
    outputs: Moments
    blocks: tuple[Moments, ...]

    def without(self, index: int, along: float) -> _Pairs:
        """The sums without a block b, given ⟨Σ_c C_c, C_b⟩."""
        kept = [place for place in range(len(self.counts)) if place != index]
        return _Pairs(
            self.counts[kept],
            self.squares[kept],
            self.square - 2 * along + float(self.squares[index]),
            tuple(self.crosses[place] for place in kept),
            self.cross - self.crosses[index],
            replace(self.outputs, matrix=self.outputs.matrix - self.blocks[index].matrix),
            tuple(self.blocks[place] for place in kept),
        )

    def cka(self) -> float | None:
        """CKA(T, T_MP); None where the norm's estimate is not positive."""
        numerator, squared_norm, scale = self.estimates()
        return numerator / (float(np.sqrt(squared_norm)) * scale) if squared_norm > 0 and scale > 0 else None

    def estimates(self) -> tuple[float, float, float]:
        """‖Cov(φ, g)‖² and ‖Cov(φ, φ)‖² without excess, and ‖Cov(g, g)‖."""
        freedom = self.counts - 1
        pairs = float(freedom.sum() ** 2 - np.sum(freedom**2))
        n = self.outputs.n
        basis = np.sqrt(n) * span(self.outputs, "outputs").coefficients
        numerator = float(np.sum((self.cross @ basis) ** 2))
        numerator -= sum(float(np.sum((cross @ basis) ** 2)) for cross in self.crosses)
        scale = float(np.linalg.norm(basis.T @ self.outputs.centered("outputs", "outputs") @ basis)) / n
        return numerator / pairs, (self.square - float(self.squares.sum())) / pairs, scale


def _pairs(sample: Sample) -> _Pairs:
    # ‖Σ_b C_b‖² = ‖C − UUᵀ‖², for the scatter of the blocks' means is not in the C_b. So the p × p matrices of the
    # blocks are not summed again: that of all rows is there already.
    between = _between(sample)
    square = sample.squared_norm - 2 * float(np.sum(between * (sample.scatter @ between)))
    square += float(np.sum((between.T @ between) ** 2))
    crosses = tuple(part.cross for part in sample.parts)
    return _Pairs(
        counts=np.array([part.moments.n for part in sample.parts]),
        squares=np.array([part.squared_norm for part in sample.parts]),
        square=square,
        crosses=crosses,
        cross=np.sum(crosses, axis=0),
        outputs=_outputs(sample.moments),
        blocks=tuple(_outputs(part.moments.about(sample.moments.shift)) for part in sample.parts),
    )


def _along(sample: Sample) -> list[float]:
    """⟨Σ_c C_c, C_b⟩ for each block b."""
    between = _between(sample)
    total = sample.scatter - between @ between.T
    return [inner(total, part.moments.centered("features", "features")) for part in sample.parts]


def _between(sample: Sample) -> Array:
    """U, whose columns are √n_b (m_b − m): float64 array of shape (p, B)."""
    means = np.stack([part.moments.mean("features") for part in sample.parts], axis=1)
    counts = np.array([part.moments.n for part in sample.parts])
    result: Array = (means - sample.moments.mean("features")[:, None]) * np.sqrt(counts)
    return result


def _outputs(moments: Moments) -> Moments:
    """The moments of the outputs alone."""
    used = np.r_[0, 1 + moments.p : 1 + moments.p + moments.C]
    matrix, shift = moments.matrix[np.ix_(used, used)], moments.shift[used]
    return replace(moments, matrix=matrix, shift=shift, p=0, K=0, targets=None, tallies={})


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # The sums over pairs tell the scatter; what the jackknife corrects is of order 1/n, and hardly moves.
    value, whole = d_lr_debiased(sample), sample.once(_pairs).cka()
    assert value is not None and whole is not None  # noqa: S101 - asked for defined metrics only
    correction = (value - (1 - whole)) * sample.moments.n

    def debiased(other: Sample) -> float:
        found = other.once(_pairs).cka()
        return float("nan") if found is None else 1 - found + correction / other.moments.n

    return debiased


METRICS = (
    Metric(
        "d_lr_debiased", "richness", "D_LR as infinitely many rows would have it, from pairs of independent blocks",
        d_lr_debiased, "share", first_order=_first_order, beyond=True,
    ),
)  # fmt: skip
