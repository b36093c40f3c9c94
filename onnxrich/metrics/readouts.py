"""Decisions of simple linear readouts of the features, compared with the classes and with the model.

A decision is no second moment: a second pass over the rows counts decisions (`onnxrich.engine.readouts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.metrics.base import Metric, Sample
from onnxrich.metrics.collapse import distinct_class_means
from onnxrich.metrics.probe import fit_probe
from onnxrich.moments.matrix import Array

# Bias of a class that never wins: no score is smaller.
_NEVER = -1e300


@dataclass(frozen=True, eq=False)
class Readout:
    """Scores φ·weightᵀ + bias. The largest score decides.

    Attributes:
        weight: float64 array of shape (K, p), K the targets that the moments contain.
        bias: float64 array of shape (K,).
    """

    weight: Array
    bias: Array


def nearest_mean(sample: Sample) -> Readout | None:
    """Readout for the class with the nearest mean; None without two classes whose means differ."""
    classes = sample.cached(distinct_class_means)
    if classes is None:
        return None
    # ‖φ − μ_c‖² is smallest where (φ − μ)·d_c − ‖d_c‖²/2 is largest, d_c = μ_c − μ.
    numbers = sample.moments.target_numbers
    columns = np.searchsorted(numbers, classes.index)
    weight, bias = np.zeros((len(numbers), sample.moments.p)), np.full(len(numbers), _NEVER)
    weight[columns] = classes.means.T
    bias[columns] = -(sample.moments.mean("features") @ classes.means) - np.sum(classes.means**2, axis=0) / 2
    return Readout(weight, bias)


def least_squares(sample: Sample) -> Readout | None:
    """Readout for the class with the largest prediction of the linear probe; None without a probe of classes."""
    probe = sample.cached(fit_probe)
    if probe is None or sample.moments.targets != "classes":
        return None
    bias = sample.moments.mean("targets") - sample.moments.mean("features") @ probe.weights
    return Readout(np.ascontiguousarray(probe.weights.T), bias)


READOUTS = {"nearest_mean": nearest_mean, "probe": least_squares}


def _metric(name: str, meaning: str, *, depends_on_numbering: bool = False) -> Metric:
    def share(sample: Sample) -> float | None:
        rows = sum(block.decided_rows for block in sample.blocks)
        if not rows or not all(name in block.decisions for block in sample.blocks):
            return None
        return sum(block.decisions[name] for block in sample.blocks) / rows

    return Metric(
        name, "readouts", meaning, compute=share, scale="share", is_default=False, needs_more_than_moments=True,
        depends_on_numbering=depends_on_numbering,
    )  # fmt: skip


METRICS = (
    _metric(
        "nc4", "share of rows that the nearest class mean decides otherwise than the model; 0 = neural collapse",
        depends_on_numbering=True,
    ),
    _metric("nearest_mean_accuracy", "share of rows whose nearest class mean is that of their class"),
    _metric("probe_accuracy", "share of rows whose class a linear map of the features, fitted to these rows, predicts"),
)  # fmt: skip
