"""D_LR without the bias of a finite sample, from independent blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics.base import Metric, Sample, inner_product
from onnxrich.metrics.linalg import compute_span, output_span
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import Array, Moments

# Fewer blocks have too few pairs.
LEAST_BLOCKS = 4


@dataclass(frozen=True)
class ExpectedCka:
    """Expected CKA(T, T_MP) of n rows. A pair is the limit of a part, and n times its excess at n rows.

    Attributes:
        numerator: ‖Cov(φ, g)‖_F², g an orthonormal basis of the span of the outputs.
        squared_norm: ‖Cov(φ, φ)‖_F².
        scale: ‖Cov(g, g)‖_F, which hardly depends on n.
    """

    numerator: tuple[float, float]
    squared_norm: tuple[float, float]
    scale: float

    def at(self, n: float) -> float:
        """Expected CKA of n rows; n may be infinite."""
        numerator, squared_norm = (limit + excess / n for limit, excess in (self.numerator, self.squared_norm))
        return float(numerator / (np.sqrt(squared_norm) * self.scale))


def d_lr_debiased(sample: Sample) -> float | None:
    """D_LR of infinitely many rows; None with fewer than four blocks, or with dependent blocks.

    Limits: with few rows (n ≲ 4C, or n² ≲ p) it scatters, and it is None if the estimate of its denominator is not
    positive. Rows within a block may depend on each other (tokens of a sentence), rows of different blocks may not.
    """
    expected = sample.cached(estimate_cka)
    return None if expected is None else float(np.clip(1 - expected.at(np.inf), 0, 1))


def expected_bias(sample: Sample, n: float) -> float | None:
    """Expected `d_lr` of n rows, less its expectation for infinitely many."""
    expected = sample.cached(estimate_cka)
    return None if expected is None else expected.at(np.inf) - expected.at(n)


def estimate_cka(sample: Sample) -> ExpectedCka | None:
    """Estimate the parts of CKA(T, T_MP) without bias to order 1/n; None without enough independent blocks."""
    # With g an orthonormal basis of the span of the outputs, D_LR → 1 − ‖Cov(φ,g)‖²/(‖Cov(φ,φ)‖ ‖Cov(g,g)‖). A sample's
    # ‖C_φφ/n‖² exceeds ‖Cov(φ,φ)‖² by about (tr Cov)²/n, because it contains the square of each entry's error, and the
    # numerator's excess is p·r/n in the same way. The numerator gains relatively more: D_LR comes out too low, and as
    # p/n is no small number, no expansion in 1/n corrects it.
    #   Blocks b = 1..B of n_b independent rows have scatters C_b, each about its own mean, with E C_b = (n_b − 1) Cov.
    # The errors of two blocks are independent, so E⟨C_b, C_c⟩ = (n_b − 1)(n_c − 1) ‖Cov‖² for b ≠ c, without excess;
    # and Σ_{b≠c} ⟨C_b, C_c⟩ = ‖Σ_b C_b‖² − Σ_b ‖C_b‖² needs no single pair. Likewise the numerator.
    #   The remaining bias is small, C/n and 1/n: g is estimated from the same rows, and the estimate is a ratio with a
    # root. The jackknife over blocks (Quenouille 1956) removes its first order.
    moments = sample.moments
    usable = sum(block.moments.n > 1 for block in sample.blocks)
    if usable < LEAST_BLOCKS or sample.is_ordered or sample.cached(compute_richness).d_lr is None:
        return None
    pairs, products = sample.cached(_sum_pairs), _products_with_total(sample)
    whole = pairs.cka()
    left_out = [pairs.without(index, product).cka() for index, product in enumerate(products)]
    if not whole or None in left_out:  # outputs that correlate with no feature need no correction
        return None
    shares = pairs.counts / moments.n
    corrected = len(shares) * whole - float((1 - shares) @ np.array(left_out, dtype=np.float64))
    numerator, squared_norm, scale = pairs.estimates()
    numerator *= corrected / whole
    basis = np.sqrt(moments.n) * output_span(sample).coefficients
    plain_numerator = float(np.sum((sample.function_cross @ basis) ** 2)) / moments.n**2
    plain_norm = sample.squared_norm / moments.n**2
    return ExpectedCka(
        (numerator, (plain_numerator - numerator) * moments.n),
        (squared_norm, (plain_norm - squared_norm) * moments.n),
        scale,
    )


@dataclass(frozen=True, eq=False)
class _PairSums:
    """Sums over all pairs of different blocks.

    Attributes:
        counts: rows of each block, float64 array of shape (B,).
        squares: ‖C_b‖², float64 array of shape (B,).
        total_square: ‖Σ_b C_b‖².
        crosses: X_b = C_φf of each block, float64 arrays of shape (p, C), f the functions that span the outputs.
        total_cross: Σ_b X_b.
        outputs: moments of the outputs alone, of all rows.
        block_outputs: the same of each block.
        has_units: whether these functions have units of their own.
    """

    counts: Array
    squares: Array
    total_square: float
    crosses: tuple[Array, ...]
    total_cross: Array
    outputs: Moments
    block_outputs: tuple[Moments, ...]
    has_units: bool

    def without(self, index: int, product: float) -> _PairSums:
        """The sums without a block b, given ⟨Σ_c C_c, C_b⟩."""
        rest = [number for number in range(len(self.counts)) if number != index]
        return _PairSums(
            self.counts[rest],
            self.squares[rest],
            self.total_square - 2 * product + float(self.squares[index]),
            tuple(self.crosses[number] for number in rest),
            self.total_cross - self.crosses[index],
            replace(self.outputs, matrix=self.outputs.matrix - self.block_outputs[index].matrix),
            tuple(self.block_outputs[number] for number in rest),
            self.has_units,
        )

    def cka(self) -> float | None:
        """CKA(T, T_MP); None if the estimate of the norm is not positive."""
        numerator, squared_norm, scale = self.estimates()
        return numerator / (float(np.sqrt(squared_norm)) * scale) if squared_norm > 0 and scale > 0 else None

    def estimates(self) -> tuple[float, float, float]:
        """‖Cov(φ, g)‖² and ‖Cov(φ, φ)‖² without excess, and ‖Cov(g, g)‖."""
        freedom = self.counts - 1
        pairs = float(freedom.sum() ** 2 - np.sum(freedom**2))
        n = self.outputs.n
        basis = np.sqrt(n) * compute_span(self.outputs, "outputs", has_units=self.has_units).coefficients
        numerator = float(np.sum((self.total_cross @ basis) ** 2))
        numerator -= sum(float(np.sum((cross @ basis) ** 2)) for cross in self.crosses)
        scale = float(np.linalg.norm(basis.T @ self.outputs.centered("outputs", "outputs") @ basis)) / n
        return numerator / pairs, (self.total_square - float(self.squares.sum())) / pairs, scale


def _sum_pairs(sample: Sample) -> _PairSums:
    # ‖Σ_b C_b‖² = ‖C − UUᵀ‖², because the C_b lack the scatter of the blocks' means. So the p × p matrix of all rows
    # serves, and those of the blocks need not be added again.
    between = _between_blocks(sample)
    total_square = sample.squared_norm - 2 * float(np.sum(between * (sample.scatter @ between)))
    total_square += float(np.sum((between.T @ between) ** 2))
    crosses = tuple(block.cross for block in sample.blocks)
    return _PairSums(
        counts=sample.block_rows,
        squares=np.array([block.squared_norm for block in sample.blocks]),
        total_square=total_square,
        crosses=crosses,
        total_cross=np.sum(crosses, axis=0),
        outputs=_outputs_alone(sample.functions),
        block_outputs=tuple(_outputs_alone(block.functions.about(sample.functions.shift)) for block in sample.blocks),
        has_units=sample.basis is None,
    )


def _products_with_total(sample: Sample) -> list[float]:
    """⟨Σ_c C_c, C_b⟩ for each block b."""
    between = _between_blocks(sample)
    total = sample.scatter - between @ between.T
    return [inner_product(total, block.moments.centered("features", "features")) for block in sample.blocks]


def _between_blocks(sample: Sample) -> Array:
    """U, whose columns are √n_b (m_b − m): float64 array of shape (p, B)."""
    means = np.stack([block.moments.mean("features") for block in sample.blocks], axis=1)
    columns: Array = (means - sample.moments.mean("features")[:, None]) * np.sqrt(sample.block_rows)
    return columns


def _outputs_alone(moments: Moments) -> Moments:
    """The moments of [1, outputs]."""
    index = np.r_[0, 1 + moments.p : 1 + moments.p + moments.C]
    matrix, shift = moments.matrix[np.ix_(index, index)], moments.shift[index]
    return replace(moments, matrix=matrix, shift=shift, p=0, K=0, targets=None, classes=None, tallies={})


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # The sums over pairs give the scatter. The correction of the jackknife is of order 1/n, and hardly changes.
    value, whole = d_lr_debiased(sample), sample.cached(_sum_pairs).cka()
    assert value is not None and whole is not None  # noqa: S101 - callers ask for defined metrics only
    correction = (value - (1 - whole)) * sample.moments.n

    def debiased(other: Sample) -> float:
        cka = other.cached(_sum_pairs).cka()
        return float("nan") if cka is None else 1 - cka + correction / other.moments.n

    return debiased


METRICS = (
    Metric(
        "d_lr_debiased", "richness", "D_LR as infinitely many rows would have it, from pairs of independent blocks",
        compute=d_lr_debiased, scale="share", first_order=_first_order, needs_more_than_moments=True,
    ),
)  # fmt: skip
