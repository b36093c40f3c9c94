"""How well a linear map of the features predicts the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxrich.metrics import richness
from onnxrich.metrics.base import Metric, Sample
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# What rounding leaves of a sum of squares, relative to it.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Fit:
    """Least squares of the targets on the features with an intercept.

    Attributes:
        weights: float64 array of shape (p, K).
        explained: Σ over targets of the variance that the fit explains, times n.
        total: Σ over targets of their variance, times n.
    """

    weights: Array
    explained: float
    total: float


def fit(sample: Sample) -> Fit | None:
    """The linear probe; None without targets that vary, and with constant features."""
    moments = sample.moments
    if not moments.K or sample.once(richness.measured).participation_ratio is None:
        return None
    total = float(np.trace(moments.centered("targets", "targets")))
    if total <= (8 * EPS["float64"]) ** 2 * moments.n * float(np.sum(moments.mean("targets") ** 2)):
        return None
    # A ridge at the level of rounding is a pseudo-inverse: products with the targets in a direction without variance
    # are at rounding level too, and their squares over the ridge stay below eps.
    cross = sample.cross("targets")
    ridge = 8 * EPS["float64"] * float(np.trace(sample.scatter))
    weights: Array = np.asarray(np.linalg.solve(sample.scatter + ridge * np.eye(moments.p), cross))
    return Fit(weights, float(np.sum(weights * cross)), total)


def probe_r2(sample: Sample) -> float | None:
    """1 − residual/total variance of all targets together in least squares on the features, 0 to 1.

    It is the fit on the same rows: with n near p it is high whatever the features are. See `probe_r2_adjusted`.
    """
    found = sample.once(fit)
    return None if found is None else float(np.clip(found.explained / found.total, 0, 1))


def probe_r2_adjusted(sample: Sample) -> float | None:
    """1 − (1 − R²)(n − 1)/(n − p − 1) (Ezekiel 1930): R² less what p features explain by chance; None for n ≤ p + 1."""
    value, n, p = sample.once(probe_r2), sample.moments.n, sample.moments.p
    return None if value is None or n <= p + 1 else 1 - (1 - value) * (n - 1) / (n - p - 1)


def _first_order(sample: Sample) -> Callable[[Sample], float]:
    # R²·total = tr(BᵀC⁺B). Its derivative is 2⟨W, dB⟩ − ⟨W, dC W⟩ with W = C⁺B, and tr(BᵀC⁺B) = 2⟨W, B⟩ − ⟨W, CW⟩. So
    # 2⟨W, B'⟩ − ⟨W, C'W⟩ is that of other rows to first order: what W, fitted to all, explains of them.
    found = sample.once(fit)
    assert found is not None  # noqa: S101 - asked for defined metrics only
    weights = found.weights
    whole = float(np.trace(sample.moments.centered("targets", "targets")))

    def explained(other: Sample) -> float:
        linear = 2 * float(np.sum(weights * other.cross("targets")))
        quadratic = float(np.sum(weights * (other.scatter @ weights)))
        total = float(np.trace(other.moments.centered("targets", "targets")))
        # Where a block held all that varies, without it nothing does, but for rounding.
        return (linear - quadratic) / total if total > _ROUNDING * whole else math.nan

    return explained


def _adjusted_first_order(sample: Sample) -> Callable[[Sample], float]:
    plain, p = _first_order(sample), sample.moments.p
    n = sample.moments.n
    return lambda other: 1 - (1 - plain(other)) * (n - 1) / (n - p - 1)


METRICS = (
    Metric(
        "probe_r2", "probe", "share of the targets' variance that a linear map of the features explains", probe_r2,
        "share", first_order=_first_order,
    ),
    Metric(
        "probe_r2_adjusted", "probe", "the same less what as many features explain by chance", probe_r2_adjusted,
        "real", False, first_order=_adjusted_first_order,
    ),
)  # fmt: skip
