"""Norms of the weights, which are sometimes taken as signs of neural collapse or of lazy training."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample


def head_norm(sample: Sample) -> float | None:
    """‖W‖_F of the head; None if the graph does not contain W."""
    return None if sample.weight is None else float(np.linalg.norm(sample.weight))


METRICS = (
    Metric(
        "head_norm", "weights", "Frobenius norm of the head's weights",
        compute=head_norm, scale="fact", needs_more_than_moments=True,
    ),
    Metric(
        "parameter_norm", "weights", "squared norm of the parameters, ‖θ‖²",
        compute=lambda sample: sample.parameter_norm, scale="fact", needs_more_than_moments=True,
    ),
)  # fmt: skip
