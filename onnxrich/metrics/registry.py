"""All scalar metrics by name, their selection, and their evaluation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

from onnxrich._utils.validation import validated
from onnxrich.errors import DataError, Notice
from onnxrich.metrics import (
    alignment,
    collapse,
    debiased,
    performance,
    probe,
    readouts,
    richness,
    spectrum,
    weights,
)
from onnxrich.metrics.base import Metric, Sample, Value
from onnxrich.moments.matrix import Array, Moments

Metrics = dict[str, Value]

_FAMILY_MODULES = (spectrum, collapse, alignment, probe, readouts, performance, weights)
_UNSORTED = [
    *richness.METRICS[:1], *debiased.METRICS, *richness.METRICS[1:],
    *(metric for module in _FAMILY_MODULES for metric in module.METRICS),
]  # fmt: skip

# What each family measures, in the order of tables.
FAMILIES: Mapping[str, str] = {
    "richness": "how much of the features the outputs use",
    "spectrum": "how many directions the features fill",
    "collapse": "how near the classes are to points of a simplex",
    "alignment": "how alike the features are to targets and outputs",
    "probe": "how well the features predict the targets",
    "readouts": "what simple readouts of the features decide; takes a second pass over the data",
    "performance": "how good the model is, which is no richness",
    "weights": "how large the weights are",
    "basis": "what D_LR rests on",
}

# All metrics by name, family by family.
METRICS: Mapping[str, Metric] = {
    metric.name: metric for family in FAMILIES for metric in _UNSORTED if metric.family == family
}

# One line for each metric, in report and documentation.
MEANINGS: Mapping[str, str] = {metric.name: metric.meaning for metric in METRICS.values()}

# The metric that every selection contains.
ALWAYS_SELECTED = "d_lr"


def select(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Select metrics by name, in the order of `METRICS`. `d_lr` is always among them.

    Args:
        names: names of metrics or of families, `default` or `all`; None means `default`.

    Raises:
        DataError: if a name is no metric and no family, or names are no text.
    """
    selected = {ALWAYS_SELECTED}
    for name in validated(metrics=["default"] if names is None else names)["metrics"]:
        matches = {metric.name for metric in METRICS.values() if name in _selectors(metric)}
        if not matches:
            similar = difflib.get_close_matches(name, [*METRICS, *FAMILIES], n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(similar)}? " if similar else ""
            needed = "a metric, a family of metrics, `default` or `all`"
            raise DataError(f"no metric is called {name!r}", needed, f"{hint}`onnxrich metrics` lists them.")
        selected |= matches
    return tuple(name for name in METRICS if name in selected)


def _selectors(metric: Metric) -> tuple[str, ...]:
    """Names that select a metric."""
    return (metric.name, metric.family, "all", *(["default"] if metric.is_default else []))


def metric_list() -> list[dict[str, str | bool]]:
    """List all metrics: name, family, one-line meaning, and whether it is computed by default.

    >>> [entry["name"] for entry in metric_list() if entry["family"] == "alignment"]
    ['kernel_target_alignment', 'cka_outputs']
    """
    return [
        {"name": metric.name, "family": metric.family, "meaning": metric.meaning, "default": metric.is_default}
        for metric in METRICS.values()
    ]


def measure(
    moments: Moments,
    *,
    metrics: Sequence[str] | None = None,
    blocks: Sequence[Moments] = (),
    weight: Array | None = None,
    parameter_norm: float | None = None,
) -> tuple[Metrics, list[Notice]]:
    """Compute metrics by name, and notices for the reader of the numbers.

    Args:
        moments: of all rows.
        metrics: names of metrics or families, or `all`. By default those that `onnxrich metrics` marks.
        blocks: moments of independent blocks of the rows, for metrics that need them.
        weight: the head's W, float64 array of shape (C, p), for metrics that compare it.
        parameter_norm: ‖θ‖² of the model.

    Raises:
        DataError: if a name is no metric and no family.
    """
    sample = Sample.from_moments(moments, blocks, weight=weight, parameter_norm=parameter_norm)
    return evaluate(sample, select(metrics))


def compute_metric(sample: Sample, name: str) -> Value:
    """Compute one metric of a sample; None if it is undefined or not finite."""
    value = sample.cached(METRICS[name].compute)
    return value if value is not None and math.isfinite(value) else None


def evaluate(sample: Sample, names: Sequence[str]) -> tuple[Metrics, list[Notice]]:
    """Compute metrics of a sample by the names that `select` returned, and notices for the reader of the numbers."""
    values = {name: compute_metric(sample, name) for name in names}
    notices = list(sample.cached(richness.compute_richness).notices)
    overflown = [name for name in names if values[name] is None and sample.cached(METRICS[name].compute) is not None]
    if overflown:
        rest = f" and {len(overflown) - 4} more" if len(overflown) > 4 else ""
        message = f"No finite numbers, and therefore null: {', '.join(overflown[:4])}{rest}."
        notices.append(Notice("not_finite", message))
    if any(METRICS[name].family == "collapse" for name in names):
        notices += collapse.collapse_notices(sample)
    return values, notices
