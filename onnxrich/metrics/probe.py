"""Linear probe: how well a linear map of the features predicts the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxrich.metrics.base import Metric, Sample
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# Rounding error of a sum of squares, relative to the sum.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Least squares of the targets on the features with an intercept.

    Attributes:
        weights: float64 array of shape (p, K).
        explained: Σ over targets of the variance that the fit explains, times n.
        total: Σ over targets of their variance, times n.
    """

    weights: Array
    explained: float
    total: float


def fit_probe(sample: Sample) -> LinearProbe | None:
    """Fit the linear probe; None if the targets or the features do not vary."""
    moments = sample.moments
    if not moments.K or not sample.cached(compute_richness).features_vary:
        return None
    total = _total(sample)
    if total <= (8 * EPS["float64"]) ** 2 * moments.n * float(np.sum(moments.mean("targets") ** 2)):
        return None
    # A ridge at the level of rounding acts as a pseudo-inverse: products with the targets in a direction without
    # variance are at rounding level too, and their squares over the ridge stay below eps. Repeated features can leave
    # the sum indefinite by rounding, so that no Cholesky factor exists: hence LU.
    cross = sample.target_cross
    ridge = 8 * EPS["float64"] * float(np.trace(sample.scatter))
    weights: Array = np.asarray(np.linalg.solve(sample.scatter + ridge * np.eye(moments.p), cross))
    return LinearProbe(weights, float(np.sum(weights * cross)), total)


def probe_r2(sample: Sample) -> float | None:
    """1 − residual/total variance of all targets together in least squares on the features, 0 to 1.

    Fit and evaluation use the same rows: with n near p it is high for any features. See `probe_r2_adjusted`.
    """
    probe = sample.cached(fit_probe)
    return None if probe is None else float(np.clip(probe.explained / probe.total, 0, 1))


def probe_r2_adjusted(sample: Sample) -> float | None:
    """1 − (1 − R²)(n − 1)/(n − p − 1) (Ezekiel 1930): R² less what p features explain by chance; None for n ≤ p + 1."""
    value, n, p = sample.cached(probe_r2), sample.moments.n, sample.p
    return None if value is None or n <= p + 1 else 1 - (1 - value) * (n - 1) / (n - p - 1)


def _total(sample: Sample) -> float:
    """Variance of all targets together, times n."""
    return sample.moments.n * float(sample.moments.variances("targets").sum())


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # R²·total = tr(BᵀC⁺B). Its derivative is 2⟨W, dB⟩ − ⟨W, dC W⟩ with W = C⁺B, and tr(BᵀC⁺B) = 2⟨W, B⟩ − ⟨W, CW⟩. So
    # 2⟨W, B'⟩ − ⟨W, C'W⟩ is that of other rows to first order: what W, fitted to all, explains of them.
    probe = sample.cached(fit_probe)
    assert probe is not None  # noqa: S101 - callers ask for defined metrics only
    weights = probe.weights
    whole = _total(sample)

    def explained_share(other: Sample) -> float:
        linear = 2 * float(np.sum(weights * other.target_cross))
        quadratic = float(np.sum(weights * (other.scatter @ weights)))
        total = _total(other)
        # If a block holds all rows that vary, nothing but rounding varies without it.
        return (linear - quadratic) / total if total > _ROUNDING * whole else math.nan

    return explained_share


def _adjusted_first_order(sample: Sample) -> Callable[[Sample], float]:
    explained_share, n, p = _first_order(sample), sample.moments.n, sample.p
    return lambda other: 1 - (1 - explained_share(other)) * (n - 1) / (n - p - 1)


METRICS = (
    Metric(
        "probe_r2", "probe", "share of the targets' variance that a linear map of the features explains",
        compute=probe_r2, scale="share", first_order=_first_order,
    ),
    Metric(
        "probe_r2_adjusted", "probe", "the same less what as many features explain by chance",
        compute=probe_r2_adjusted, scale="real", is_default=False, first_order=_adjusted_first_order,
    ),
)  # fmt: skip
