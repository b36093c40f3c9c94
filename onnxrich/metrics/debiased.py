"""D_LR without the bias of a finite sample, from independent blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnxrich.metrics.base import Block, Metric, Sample, inner_product, leave_out_each
from onnxrich.metrics.linalg import compute_span, output_span
from onnxrich.metrics.richness import compute_richness
from onnxrich.metrics.unbiased import BlockProducts, squared_norm
from onnxrich.moments.matrix import Array, Moments

# Fewer blocks have too few pairs for an error.
LEAST_BLOCKS = 4
# Products of four different blocks are needed without any one block, too.
LEAST_DEBIASED = 5


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
    """D_LR of infinitely many rows; None with fewer than five blocks, or with dependent blocks.

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
    # numerator's excess is p·r/n in the same way. As p/n is no small number, no expansion in 1/n corrects it: both are
    # replaced by their estimates from different blocks, which have no excess.
    #   The remaining bias is small, C/n and 1/n: g is estimated from the same rows, and the estimate is a ratio with a
    # root. The jackknife over blocks (Quenouille 1956) removes its first order.
    moments = sample.moments
    if len(sample.blocks) < LEAST_DEBIASED or sample.is_ordered or sample.cached(compute_richness).d_lr is None:
        return None
    estimator = sample.cached(_Estimator.of)
    whole, left_out = estimator.cka(sample), [estimator.cka(rest) for rest in leave_out_each(sample)]
    if not whole or None in left_out:  # outputs that correlate with no feature need no correction
        return None
    corrected = jackknife_corrected(whole, np.array(left_out, dtype=np.float64), sample.block_rows / moments.n)
    numerator, squared_norm, scale = estimator.parts(sample)
    numerator *= corrected / whole
    basis = np.sqrt(moments.n) * output_span(sample).coefficients
    plain_numerator = float(np.sum((sample.function_cross @ basis) ** 2)) / moments.n**2
    plain_norm = sample.squared_norm / moments.n**2
    return ExpectedCka(
        (numerator, (plain_numerator - numerator) * moments.n),
        (squared_norm, (plain_norm - squared_norm) * moments.n),
        scale,
    )


def jackknife_corrected(value: float, left_out: Array, shares: Array) -> float:
    """A value less its bias of order 1/n, from the values without each block.

    Source: Busing, Meijer & van der Leeden 1999, for blocks of any sizes: G θ − Σ_j (1 − m_j/n) θ_(−j).

    Args:
        value: θ.
        left_out: float64 array of shape (G,), θ without each block.
        shares: float64 array of shape (G,), each block's share m_j/n of the rows.
    """
    return len(shares) * value - float((1 - shares) @ left_out)


@dataclass(frozen=True, eq=False)
class _Estimator:
    """Sums of the blocks of a sample, which give the parts of CKA(T, T_MP) of any of its blocks without excess.

    g₀ are orthonormal functions of the span of the outputs of all rows. All sums are about the means of all rows.

    Attributes:
        numbers: number of each block.
        features: products of the blocks' Σ φφᵀ.
        projection: E g₀hᵀ over all rows, float64 array of shape (r, m): the coordinates in g₀ of the functions h that
            span the outputs.
        crosses: X_b = Σ φ g₀ᵀ of each block, float64 array of shape (G, p, r).
        squares: X_bᵀ X_b, float64 array of shape (G, r, r).
        products: X_cᵀ s_b at [c, b], s_b = Σ φ: float64 array of shape (G, G, r).
        sums: Σ g₀ of each block, float64 array of shape (G, r).
        known: parts that were computed, by the numbers of the blocks.
    """

    numbers: Mapping[Block, int]
    features: BlockProducts
    projection: Array
    crosses: Array
    squares: Array
    products: Array
    sums: Array
    known: dict[tuple[int, ...], tuple[float, float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, sample: Sample) -> _Estimator:
        """Compute the sums of a sample's blocks."""
        moments, counts = sample.functions, sample.block_rows
        blocks = [block.functions.about(moments.shift) for block in sample.blocks]
        basis = np.sqrt(moments.n) * output_span(sample).coefficients
        means = {
            name: np.stack([block.mean(name) for block in blocks]) - moments.mean(name)
            for name in ("features", "outputs")
        }
        sums = counts[:, None] * (means["outputs"] @ basis)
        crosses = np.stack(
            [
                block.centered("features", "outputs") @ basis + np.outer(mean, total)
                for block, mean, total in zip(blocks, means["features"], sums, strict=True)
            ]
        )
        return cls(
            numbers={block: number for number, block in enumerate(sample.blocks)},
            features=BlockProducts.of_features(blocks),
            projection=basis.T @ moments.raw("outputs", "outputs") / moments.n,
            crosses=crosses,
            squares=crosses.transpose(0, 2, 1) @ crosses,
            products=(counts[:, None] * means["features"]) @ crosses,
            sums=sums,
        )

    def cka(self, sample: Sample) -> float | None:
        """CKA(T, T_MP) of some of the blocks, four or more; None if the estimate of the norm is not positive."""
        numerator, squared_norm, scale = self.parts(sample)
        return numerator / (float(np.sqrt(squared_norm)) * scale) if squared_norm > 0 and scale > 0 else None

    def parts(self, sample: Sample) -> tuple[float, float, float]:
        """‖Cov(φ, g)‖² and ‖Cov(φ, φ)‖² without excess, and ‖Cov(g, g)‖, of some of the blocks."""
        chosen = tuple(self.numbers[block] for block in sample.blocks)
        if chosen not in self.known:  # the metric, its error and its convergence ask for the same blocks
            self.known[chosen] = self._compute_parts(sample, list(chosen))
        return self.known[chosen]

    def _compute_parts(self, sample: Sample, chosen: Sequence[int]) -> tuple[float, float, float]:
        outputs = _outputs_alone(sample.functions)
        span = compute_span(outputs, "outputs", has_units=sample.basis is None)
        basis = np.sqrt(outputs.n) * span.coefficients
        scale = float(np.linalg.norm(basis.T @ outputs.centered("outputs", "outputs") @ basis)) / outputs.n
        return self._numerator(chosen, basis), self.features.squared_norm(chosen), scale

    def _numerator(self, chosen: Sequence[int], basis: Array) -> float:
        """‖Cov(φ, g)‖² from the blocks of these numbers, g = h · basis."""
        coordinates = self.projection @ basis
        # ‖Σ X_b A‖² over pairs of different blocks, with one p × r product in place of one a block.
        total = self.crosses[chosen].sum(axis=0)
        weights = coordinates @ coordinates.T
        pair_sum = inner_product(weights, total.T @ total - self.squares[chosen].sum(axis=0))
        sums = self.sums[chosen] @ weights
        triples = self.products[np.ix_(chosen, chosen)] @ sums.T
        left = self.features.left[np.ix_(chosen, chosen)]
        return squared_norm(self.features.counts[chosen], pair_sum, triples, left, sums @ self.sums[chosen].T)


def _outputs_alone(moments: Moments) -> Moments:
    """The moments of [1, outputs]."""
    index = np.r_[0, 1 + moments.p : 1 + moments.p + moments.C]
    matrix, shift = moments.matrix[np.ix_(index, index)], moments.shift[index]
    return replace(moments, matrix=matrix, shift=shift, p=0, K=0, targets=None, classes=None, tallies={})


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # The estimator gives the scatter. The correction of the jackknife is of order 1/n, and hardly changes.
    value, estimator = d_lr_debiased(sample), sample.cached(_Estimator.of)
    whole = estimator.cka(sample)
    assert value is not None and whole is not None  # noqa: S101 - callers ask for defined metrics only
    correction = (value - (1 - whole)) * sample.moments.n

    def debiased(other: Sample) -> float:
        cka = estimator.cka(other)
        return float("nan") if cka is None else 1 - cka + correction / other.moments.n

    return debiased


METRICS = (
    Metric(
        "d_lr_debiased", "richness", "D_LR as infinitely many rows would have it, from different independent blocks",
        compute=d_lr_debiased, scale="clipped", first_order=_first_order, needs_more_than_moments=True,
    ),
)  # fmt: skip
