"""What simple linear readouts of the features decide: which class, and whether the model agrees.

A decision is no second moment: it takes another pass over the rows, which counts them (`onnxrich.readouts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.metrics import collapse, probe
from onnxrich.metrics.base import Metric, Sample
from onnxrich.moments.matrix import Array

# A score that no other is below.
_NEVER = -1e300


@dataclass(frozen=True, eq=False)
class Readout:
    """Scores φ·weightᵀ + bias, of which the largest is the decision.

    Attributes:
        weight: float64 array of shape (K, p).
        bias: float64 array of shape (K,).
    """

    weight: Array
    bias: Array


def nearest_mean(sample: Sample) -> Readout | None:
    """Decides for the class whose mean is nearest; None without two classes whose means differ."""
    found = sample.once(collapse.classes)
    if found is None or not found.distinct:
        return None
    # ‖φ − μ_c‖² is smallest where (φ − μ)·d_c − ‖d_c‖²/2 is largest, d_c = μ_c − μ.
    weight = np.zeros((sample.moments.K, sample.moments.p))
    bias = np.full(sample.moments.K, _NEVER)
    weight[found.index] = found.means.T
    bias[found.index] = -(sample.moments.mean("features") @ found.means) - np.sum(found.means**2, axis=0) / 2
    return Readout(weight, bias)


def least_squares(sample: Sample) -> Readout | None:
    """Decides for the class of which the linear probe predicts most; None where there is no probe of classes."""
    found = sample.once(probe.fit)
    if found is None or sample.moments.targets != "classes":
        return None
    bias = sample.moments.mean("targets") - sample.moments.mean("features") @ found.weights
    return Readout(np.ascontiguousarray(found.weights.T), bias)


READOUTS = {"nearest_mean": nearest_mean, "probe": least_squares}


def _metric(name: str, meaning: str, *, by_number: bool = False) -> Metric:
    def share(sample: Sample) -> float | None:
        judged = sum(part.judged for part in sample.parts)
        if not judged or not all(name in part.decisions for part in sample.parts):
            return None
        return sum(part.decisions[name] for part in sample.parts) / judged

    return Metric(name, "readouts", meaning, share, "share", False, beyond=True, by_number=by_number)


METRICS = (
    _metric(
        "nc4", "share of rows that the nearest class mean decides otherwise than the model; 0 = neural collapse",
        by_number=True,
    ),
    _metric("nearest_mean_accuracy", "share of rows whose nearest class mean is that of their class"),
    _metric("probe_accuracy", "share of rows whose class a linear map of the features, fitted to these rows, predicts"),
)  # fmt: skip
