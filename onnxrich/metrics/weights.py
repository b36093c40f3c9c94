"""Sizes of the weights: what neural collapse and lazy training are sometimes told by, for comparison."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample


def head_norm(sample: Sample) -> float | None:
    """‖W‖_F of the head; None when W can't be read from the graph."""
    return None if sample.weight is None else float(np.linalg.norm(sample.weight))


METRICS = (
    Metric("head_norm", "weights", "Frobenius norm of the head's weights", head_norm, "fact", beyond=True),
    Metric(
        "parameter_norm", "weights", "sum of the squares of all parameters",
        lambda sample: sample.parameter_norm, "fact", beyond=True,
    ),
)  # fmt: skip
