"""Performance of the model on the rows: reported beside richness, and independent of it."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample, inner_product
from onnxrich.moments.matrix import Moments


def accuracy(sample: Sample) -> float | None:
    """Share of rows whose largest output is that of their class. The sign of a single output decides."""
    return _mean_score(sample, "correct")


def cross_entropy(sample: Sample) -> float | None:
    """Mean of log Σ_c exp f_c − f_y in nats, ≥ 0; log K without any knowledge of the class.

    For a single output it is the mean of log(1 + exp(∓f)).
    """
    return _mean_score(sample, "cross_entropy")


def mean_squared_error(sample: Sample) -> float | None:
    """Mean over rows and targets of (f − y)² if outputs and targets correspond. Classes are one-hot targets."""
    moments = sample.moments
    if not moments.K or moments.K != moments.C or not moments.n:
        return None
    # f − y has the mean m_f − m_y and the centred square C_ff − 2C_fy + C_yy, whose trace is needed. A target that the
    # moments lack is 0 in all rows.
    numbers = moments.target_numbers
    variance = sample.output_variance + float(moments.variances("targets").sum())
    difference = moments.mean("outputs")
    difference[numbers] -= moments.mean("targets")
    scatter = variance - 2 * _sum_covariances(moments) / moments.n
    return max(0.0, scatter + float(np.sum(difference**2))) / moments.K


def _sum_covariances(moments: Moments) -> float:
    """Σ_c of the centred products of output c and target c."""
    numbers = moments.target_numbers
    if moments.weight is None:
        return float(moments.centered("outputs", "targets")[numbers, np.arange(len(numbers))].sum())
    return inner_product(moments.weight[numbers], moments.centered("features", "targets").T)


def _mean_score(sample: Sample, name: str) -> float | None:
    moments = sample.moments
    return moments.tallies[name] / moments.n if name in moments.tallies and moments.n else None


METRICS = (
    Metric(
        "accuracy", "performance", "share of rows whose largest output is their class; performance, not richness",
        compute=accuracy, scale="share", depends_on_numbering=True,
    ),
    Metric(
        "cross_entropy", "performance", "mean of −log softmax of the right class, in nats; performance, not richness",
        compute=cross_entropy, scale="positive", depends_on_numbering=True,
    ),
    Metric(
        "mean_squared_error", "performance", "mean square of outputs less targets; performance, not richness",
        compute=mean_squared_error, scale="positive", depends_on_numbering=True,
    ),
)  # fmt: skip
