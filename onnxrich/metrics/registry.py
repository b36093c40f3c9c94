"""Scalar metrics, each computed from moments. One file a family, and `ALL` of them by name."""

from __future__ import annotations

import difflib
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
from onnxrich.metrics.base import Metric, Sample, Value, sample_of
from onnxrich.moments.matrix import Array, Moments

__all__ = [
    "ALL",
    "FAMILIES",
    "MEANINGS",
    "Metrics",
    "evaluate",
    "measure",
    "metric_list",
    "select",
]

Metrics = dict[str, Value]

_FILES = (spectrum, collapse, alignment, probe, readouts, performance, weights)
_LISTED = [
    *richness.METRICS[:1], *debiased.METRICS, *richness.METRICS[1:],
    *(metric for file in _FILES for metric in file.METRICS),
]  # fmt: skip

# What each family says, in the order in which they are listed.
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
ALL: Mapping[str, Metric] = {
    metric.name: metric for family in FAMILIES for metric in _LISTED if metric.family == family
}

# One line a metric: what the report and the documentation say about it.
MEANINGS: Mapping[str, str] = {metric.name: metric.meaning for metric in ALL.values()}

# Every report says this one, whatever is asked for.
ALWAYS = "d_lr"


def select(names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The metrics that are meant, in the order of `ALL`; `d_lr` is always among them.

    Args:
        names: names of metrics or of families, `default` or `all`; None is `default`.

    Raises:
        DataError: when there is no metric or family of a name, or they are no names.
    """
    chosen = {ALWAYS}
    for name in validated(metrics=["default"] if names is None else names)["metrics"]:
        fitting = {metric.name for metric in ALL.values() if name in _words(metric)}
        if not fitting:
            near = difflib.get_close_matches(name, [*ALL, *FAMILIES], n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            needed = "a metric, a family of metrics, `default` or `all`"
            raise DataError(f"no metric {name!r}", needed, f"{hint}`onnxrich metrics` lists them.")
        chosen |= fitting
    return tuple(name for name in ALL if name in chosen)


def _words(metric: Metric) -> tuple[str, ...]:
    """What a metric is chosen by."""
    return (metric.name, metric.family, "all", *(["default"] if metric.default else []))


def metric_list() -> list[dict[str, str | bool]]:
    """All metrics: name, family, one-line meaning, and whether it is computed when none are named.

    >>> [entry["name"] for entry in metric_list() if entry["family"] == "alignment"]
    ['kernel_target_alignment', 'cka_outputs']
    """
    return [
        {"name": metric.name, "family": metric.family, "meaning": metric.meaning, "default": metric.default}
        for metric in ALL.values()
    ]


def measure(
    moments: Moments,
    *,
    metrics: Sequence[str] | None = None,
    blocks: Sequence[Moments] = (),
    weight: Array | None = None,
    parameter_norm: float | None = None,
) -> tuple[Metrics, list[Notice]]:
    """Metrics by name, and what a reader should know about them.

    Args:
        moments: of all rows.
        metrics: names of metrics or families, or `all`; those of `onnxrich metrics` that are marked when left out.
        blocks: moments of independent blocks of the rows, for metrics that need them.
        weight: the head's W, float64 array of shape (C, p), for metrics that compare it.
        parameter_norm: ‖θ‖² of the model.

    Raises:
        DataError: when there is no metric of a name.
    """
    sample = sample_of(moments, blocks, weight=weight, parameter_norm=parameter_norm)
    return evaluate(sample, select(metrics))


def evaluate(sample: Sample, names: Sequence[str]) -> tuple[Metrics, list[Notice]]:
    """`measure` for a sample, and for names as `select` gives them."""
    values = {name: sample.once(ALL[name].compute) for name in names}
    notices = list(sample.once(richness.measured).notices)
    if any(ALL[name].family == "collapse" for name in names):
        notices += collapse.notices(sample)
    return values, notices
