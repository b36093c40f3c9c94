"""Spectral metrics: how many directions the features fill, from the spectra of their covariance and of their kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxrich.metrics.base import Metric, Sample, inner_product
from onnxrich.metrics.linalg import Spectrum, centered_spectrum, raw_spectrum
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import Array

# Ranks that the power law is fitted to. With fewer than _FEWEST_RANKS of them it is undefined.
ALPHA_RANKS = (11, 50)
_FEWEST_RANKS = 11

# A function of positive, descending eigenvalues: its value and its derivative in each; None if it is undefined.
SpectralFunction = Callable[[Array], tuple[float, Array] | None]


def effective_rank(eigenvalues: Array) -> tuple[float, Array] | None:
    """exp of the entropy of the normalised singular values √λ/Σ√λ (Roy & Vetterli 2007), 1 to p."""
    if not len(eigenvalues):
        return None
    sigma = np.sqrt(eigenvalues)
    share = sigma / sigma.sum()
    entropy = float(-(share * np.log(share)).sum())
    value = float(np.exp(entropy))
    # dH/dσ_i = −(log s_i + H)/Σσ, and dσ/dλ = 1/(2σ).
    return value, -value * (np.log(share) + entropy) / sigma.sum() / (2 * sigma)


def spectrum_entropy(eigenvalues: Array) -> tuple[float, Array] | None:
    """Entropy −Σ s log s of the variances' shares s = λ/Σλ in nats (Giraldo, Rao & Principe 2015), 0 to log p."""
    if not len(eigenvalues):
        return None
    total = eigenvalues.sum()
    share = eigenvalues / total
    entropy = float(-(share * np.log(share)).sum())
    return entropy, -(np.log(share) + entropy) / total


def stable_rank(eigenvalues: Array) -> tuple[float, Array] | None:
    """‖Φ‖_F²/‖Φ‖₂² = Σλ/λ₁ of the centred features (Rudelson & Vershynin 2007), 1 to p."""
    if not len(eigenvalues):
        return None
    value = float(eigenvalues.sum() / eigenvalues[0])
    slope = np.full(len(eigenvalues), 1 / eigenvalues[0])
    slope[0] -= value / eigenvalues[0]
    return value, slope


def alpha_req(eigenvalues: Array) -> tuple[float, Array] | None:
    """α of the power law λ_i ∝ i^−α over ranks 11 to 50 (Agrawal et al. 2022), with equal weight for each octave.

    The fit, weights 1/i, is that of Stringer et al. 2019. None with fewer than 21 directions.
    """
    ranks = np.arange(ALPHA_RANKS[0], min(ALPHA_RANKS[1], len(eigenvalues)) + 1, dtype=np.float64)
    if len(ranks) < _FEWEST_RANKS:
        return None
    x, weights = np.log(ranks), 1 / ranks
    offset = x - (weights @ x) / weights.sum()
    coefficients = -weights * offset / float(weights @ offset**2)
    fitted = slice(ALPHA_RANKS[0] - 1, ALPHA_RANKS[0] - 1 + len(ranks))
    slope = np.zeros(len(eigenvalues))
    slope[fitted] = coefficients / eigenvalues[fitted]
    return float(coefficients @ np.log(eigenvalues[fitted])), slope


def _metric(
    name: str,
    meaning: str,
    function: SpectralFunction,
    *,
    spectrum: Callable[[Sample], Spectrum] = centered_spectrum,
    is_default: bool = False,
) -> Metric:
    is_raw = spectrum is raw_spectrum

    def evaluate(sample: Sample) -> tuple[float, Array] | None:
        if not is_raw and not sample.cached(compute_richness).features_vary:
            return None
        eigen = sample.cached(spectrum)
        return function(eigen.values[: eigen.rank])

    def compute(sample: Sample) -> float | None:
        result = evaluate(sample)
        return None if result is None else result[0]

    def first_order(sample: Sample) -> Callable[[Sample], float]:
        # The eigenvalues of S + Δ are λ_i + v_iᵀΔv_i to first order, so a function F of them is F + ⟨D, Δ⟩ with
        # D = Σ_i F'_i v_i v_iᵀ: one product of p × p matrices for the whole sample, p² operations for each other one.
        result = evaluate(sample)
        assert result is not None  # noqa: S101 - callers ask for defined metrics only
        value, slope = result
        vectors = sample.cached(spectrum).vectors[:, : len(slope)]
        gradient = (vectors * slope) @ vectors.T
        start = _inner_product_with(gradient, sample, is_raw=is_raw)
        return lambda other: value + _inner_product_with(gradient, other, is_raw=is_raw) - start

    return Metric(
        name, "spectrum", meaning, compute=compute, scale="positive", is_default=is_default, first_order=first_order
    )


def _inner_product_with(gradient: Array, sample: Sample, *, is_raw: bool) -> float:
    """⟨gradient, C_φφ/n⟩; if raw, ⟨gradient, S_φφ/n⟩ with S_φφ/n = C_φφ/n + mmᵀ."""
    product = inner_product(gradient, sample.scatter) / sample.moments.n
    mean = sample.moments.mean("features")
    return product + float(mean @ gradient @ mean) if is_raw else product


METRICS = (
    _metric(
        "effective_rank", "effective number of feature directions, exp of the singular values' entropy", effective_rank,
        is_default=True,
    ),
    Metric(
        "participation_ratio", "spectrum", "effective number of feature directions, (Σλ)²/Σλ²",
        compute=lambda sample: sample.cached(compute_richness).participation_ratio, scale="positive",
    ),
    _metric(
        "stable_rank", "feature variance in units of its largest direction, Σλ/λ₁", stable_rank, is_default=True
    ),
    _metric(
        "rankme", "effective rank of the features with their mean left in, as self-supervised learning uses it",
        effective_rank, spectrum=raw_spectrum,
    ),
    _metric("alpha_req", "decay of the variances, λ_i ∝ i^−α over ranks 11 to 50; large = few directions", alpha_req),
    _metric(
        "spectrum_entropy", "entropy of the shares of variance in nats; 0 = one direction, log p = all alike",
        spectrum_entropy,
    ),
)  # fmt: skip
