"""How many directions the features fill: measures of the spectra of their covariance and of their kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxrich.metrics import linalg as _spectra
from onnxrich.metrics import richness
from onnxrich.metrics.base import Metric, Sample, inner
from onnxrich.metrics.linalg import Spectrum
from onnxrich.moments.matrix import Array

# The ranks over which the power law is fitted; with fewer than _FEWEST of them there is none.
ALPHA_RANKS = (11, 50)
_FEWEST = 11

# A function of eigenvalues, all positive and descending: its value, and its derivative in each; None without any.
Function = Callable[[Array], tuple[float, Array] | None]


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
    """α of the power law λ_i ∝ i^−α over ranks 11 to 50 (Agrawal et al. 2022), each octave of ranks weighted alike.

    The fit, weights 1/i, is that of Stringer et al. 2019. None with fewer than 21 directions.
    """
    ranks = np.arange(ALPHA_RANKS[0], min(ALPHA_RANKS[1], len(eigenvalues)) + 1, dtype=np.float64)
    if len(ranks) < _FEWEST:
        return None
    x, weights = np.log(ranks), 1 / ranks
    offset = x - (weights @ x) / weights.sum()
    coefficients = -weights * offset / float(weights @ offset**2)
    used = slice(ALPHA_RANKS[0] - 1, ALPHA_RANKS[0] - 1 + len(ranks))
    slope = np.zeros(len(eigenvalues))
    slope[used] = coefficients / eigenvalues[used]
    return float(coefficients @ np.log(eigenvalues[used])), slope


def _metric(
    name: str,
    meaning: str,
    function: Function,
    spectrum: Callable[[Sample], Spectrum] = _spectra.centered,
    *,
    default: bool = False,
) -> Metric:
    def positive(sample: Sample) -> Array | None:
        if spectrum is _spectra.centered and sample.once(richness.measured).participation_ratio is None:
            return None
        found = sample.once(spectrum)
        return found.values[: found.rank]

    def compute(sample: Sample) -> float | None:
        values = positive(sample)
        result = None if values is None else function(values)
        return None if result is None else result[0]

    def first_order(sample: Sample) -> Callable[[Sample], float]:
        # The eigenvalues of S + Δ are λ_i + v_iᵀΔv_i to first order, so a function F of them is F + ⟨D, Δ⟩ with
        # D = Σ_i F'_i v_i v_iᵀ: one product of p × p matrices for the whole sample, p² operations for each other one.
        values = positive(sample)
        result = None if values is None else function(values)
        assert result is not None  # noqa: S101 - asked for defined metrics only
        value, slope = result
        vectors = sample.once(spectrum).vectors[:, : len(slope)]
        gradient = (vectors * slope) @ vectors.T
        raw = spectrum is _spectra.raw
        start = _along(gradient, sample, raw=raw)
        return lambda other: value + _along(gradient, other, raw=raw) - start

    return Metric(name, "spectrum", meaning, compute, "positive", default, first_order)


def _along(gradient: Array, sample: Sample, *, raw: bool) -> float:
    """⟨gradient, C_φφ/n⟩, or with S_φφ/n = C_φφ/n + mmᵀ."""
    along = inner(gradient, sample.scatter) / sample.moments.n
    mean = sample.moments.mean("features")
    return along + float(mean @ gradient @ mean) if raw else along


METRICS = (
    _metric(
        "effective_rank", "effective number of feature directions, exp of the singular values' entropy", effective_rank,
        default=True,
    ),
    Metric(
        "participation_ratio", "spectrum", "effective number of feature directions, (Σλ)²/Σλ²",
        lambda sample: sample.once(richness.measured).participation_ratio, "positive",
    ),
    _metric("stable_rank", "feature variance in units of its largest direction, Σλ/λ₁", stable_rank, default=True),
    _metric(
        "rankme", "effective rank of the features with their mean left in, as self-supervised learning uses it",
        effective_rank, _spectra.raw,
    ),
    _metric("alpha_req", "decay of the variances, λ_i ∝ i^−α over ranks 11 to 50; large = few directions", alpha_req),
    _metric(
        "spectrum_entropy", "entropy of the shares of variance in nats; 0 = one direction, log p = all alike",
        spectrum_entropy,
    ),
)  # fmt: skip
