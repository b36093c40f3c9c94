"""How good the model is on these rows: performance stands beside richness, and is another thing."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample


def accuracy(sample: Sample) -> float | None:
    """Share of rows whose largest output is their class (with one output: whose sign is)."""
    return _mean(sample, "correct")


def cross_entropy(sample: Sample) -> float | None:
    """Mean of log Σ_c exp f_c − f_y in nats, with one output of log(1 + exp(∓f)); ≥ 0, log K when it knows nothing."""
    return _mean(sample, "cross_entropy")


def mean_squared_error(sample: Sample) -> float | None:
    """Mean over rows and targets of (f − y)², where outputs and targets correspond; classes are one-hot targets."""
    moments = sample.moments
    if not moments.K or moments.K != moments.C or not moments.n:
        return None
    # f − y has the mean m_f − m_y and the centred square C_ff − 2C_fy + C_yy, of which the diagonal is wanted.
    centered = (
        moments.centered("outputs", "outputs")
        - 2 * moments.centered("outputs", "targets")
        + moments.centered("targets", "targets")
    )
    offset = float(np.sum((moments.mean("outputs") - moments.mean("targets")) ** 2))
    return max(0.0, float(np.trace(centered)) / moments.n + offset) / moments.K


def _mean(sample: Sample, name: str) -> float | None:
    moments = sample.moments
    return moments.tallies[name] / moments.n if name in moments.tallies and moments.n else None


METRICS = (
    Metric(
        "accuracy", "performance", "share of rows whose largest output is their class; performance, not richness",
        accuracy, "share", by_number=True,
    ),
    Metric(
        "cross_entropy", "performance", "mean of −log softmax of the right class, in nats; performance, not richness",
        cross_entropy, "positive", by_number=True,
    ),
    Metric(
        "mean_squared_error", "performance", "mean square of outputs less targets; performance, not richness",
        mean_squared_error, "positive", by_number=True,
    ),
)  # fmt: skip
