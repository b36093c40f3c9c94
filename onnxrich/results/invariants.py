"""What the record of an analysis always fulfils: one that doesn't, or contradicts its moments, was edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.metrics.base import Value
from onnxrich.metrics.debiased import LEAST_BLOCKS
from onnxrich.metrics.jackknife import Interval, Uncertainty, jackknife_interval
from onnxrich.metrics.registry import METRICS, Metrics
from onnxrich.moments.matrix import Moments
from onnxrich.results.anchors import Initial
from onnxrich.results.layer import METRICS as LAYER_METRICS
from onnxrich.results.layer import Layer
from onnxrich.results.provenance import DataInfo, HeadInfo, ModelInfo, Provenance, RuntimeInfo

# Rounding of shares, of sums of shares, and of ends of intervals.
ROUNDING = 1e-6
# No metric and no duration is as large; squares of such numbers are finite.
LARGEST = 1e100
# Kinds of rows.
ROWS = ("sample", "token", "position")


def check_record(record: Provenance, moments: Moments) -> None:
    """Check that a record is one of these moments.

    Raises:
        DataError: when it can't be; the message names the first contradiction.
    """
    violations = chain(
        _in_model(record.model),
        _in_head(record.head, moments),
        _in_data(record.data, record.head, moments),
        _in_runtime(record.runtime, record.data),
        _in_names(record),
        _in_metrics(record.beyond, "the record"),
        () if record.uncertainty is None else _in_uncertainty(record.uncertainty, record),
        *(_in_layer(layer) for layer in record.layers),
        _in_last_layer(record.layers, record.head),
        () if record.initial is None else _in_initial(record.initial),
    )
    violation = next(violations, None)
    if violation is not None:
        raise DataError(
            f"a record that contradicts itself or its moments: {violation}",
            "the record that was saved with them",
            "Pass the moments.npz that `onnxrich run --output DIR` wrote.",
        )


def with_metrics(record: Provenance, metrics: Metrics) -> Provenance:
    """The record with what follows from metrics computed anew: a file can say what it likes.

    Intervals are those of the metrics and their values without each block, the last layer is the head's features, and
    the change since the initial model is that of D_LR.
    """
    uncertainty, layers, initial = record.uncertainty, record.layers, record.initial
    if uncertainty is not None:
        uncertainty = replace(uncertainty, intervals=_intervals(uncertainty, metrics))
    if layers:
        last = layers[-1]
        values = last.metrics | {name: metrics[name] for name in last.metrics if name in metrics}
        intervals = {} if uncertainty is None else uncertainty.intervals
        known = last.intervals.keys() & intervals.keys()
        last = replace(last, metrics=values, intervals={**last.intervals, **{name: intervals[name] for name in known}})
        layers = (*layers[:-1], last)
    if initial is not None:
        d_lr = metrics["d_lr"]
        initial = replace(initial, change=None if d_lr is None or initial.d_lr is None else d_lr - initial.d_lr)
    return replace(record, uncertainty=uncertainty, layers=layers, initial=initial)


def _intervals(uncertainty: Uncertainty, metrics: Metrics) -> dict[str, Interval]:
    """Intervals by name of the metric; those of metrics that were not asked for stay as they were."""
    shares, intervals = np.array(uncertainty.shares), dict(uncertainty.intervals)
    for name in intervals:
        value = metrics.get(name)
        if value is not None:
            replicates = np.array(uncertainty.replicates[name])
            intervals[name] = jackknife_interval(float(value), replicates, shares, scale=METRICS[name].scale)
    return intervals


def _in_model(model: ModelInfo) -> Iterator[str]:
    if min(model.opset, model.parameters) < 0:
        yield f"a model of opset {model.opset} with {model.parameters} parameters"


def _in_head(head: HeadInfo, moments: Moments) -> Iterator[str]:
    if (head.p, head.C) != (moments.p, moments.C):
        yield f"a head of {head.p} features and {head.C} outputs, and moments of {moments.p} and {moments.C}"
    if head.rows not in ROWS:
        yield "rows of another kind than sample, token or position"
    if head.verified and head.residual is None:
        yield "a head that was verified, without its residual"
    if (head.residual or 0.0) < 0:
        yield f"a residual of {head.residual}"


def _in_data(data: DataInfo, head: HeadInfo, moments: Moments) -> Iterator[str]:
    if not 1 <= data.n == moments.n:
        yield f"{data.n} rows in the record, and {moments.n:.6g} in the moments"
    if data.samples < 1 or (head.rows == "sample" and data.n > data.samples):
        yield f"{data.n} rows of {data.samples} samples"
    K = moments.K if moments.targets == "classes" else None
    # Records that were made by hand may leave out what their defaults do not say.
    if data.classes not in (None, K):
        yield f"{data.classes} classes in the record, and {K} in the moments"
    if K is not None and data.class_names is not None and len(data.class_names) > K:
        yield f"{len(data.class_names)} names of {K} classes"
    if not _are_steps(data.preprocessing or {}):
        yield "steps of preprocessing of another form"


def _are_steps(steps: Mapping[str, Any]) -> bool:
    """Tell whether these are steps of preprocessing by name, and who declared each."""
    origins = steps.get("declared_by", {})
    values = chain.from_iterable(
        value if isinstance(value, list) else [value] for name, value in steps.items() if name != "declared_by"
    )
    return (
        isinstance(origins, dict)
        and all(isinstance(origin, str) for origin in origins.values())
        and not any(isinstance(value, dict | list) for value in values)
    )


def _in_runtime(runtime: RuntimeInfo, data: DataInfo) -> Iterator[str]:
    if min(runtime.batch_size, runtime.runs, runtime.blocks) < 1:
        yield f"batches of {runtime.batch_size}, {runtime.runs} to each of {runtime.blocks} blocks"
    if runtime.blocks > data.samples:
        yield f"{runtime.blocks} blocks of {data.samples} samples"
    if not 0 <= runtime.resumed <= data.samples:
        yield f"{runtime.resumed} of {data.samples} samples from a checkpoint"
    if min(runtime.seconds, *runtime.devices, *runtime.nodes.values(), *runtime.profile.values(), 0) < 0:
        yield "times, devices or nodes below zero"
    if max(runtime.seconds, *runtime.profile.values(), 0) > LARGEST:
        yield "times that are too long"


def _in_names(record: Provenance) -> Iterator[str]:
    for names in (record.asked, record.lacking):
        if len(set(names)) < len(names):
            yield "a metric that stands twice"


def _in_uncertainty(uncertainty: Uncertainty, record: Provenance) -> Iterator[str]:
    blocks, rows = uncertainty.blocks, uncertainty.rows
    if record.runtime.blocks not in (1, blocks) or blocks < LEAST_BLOCKS:
        yield f"errors from {blocks} blocks, of {record.runtime.blocks}"
    shares = uncertainty.shares
    if len(shares) != blocks or min(shares) <= 0 or abs(sum(shares) - 1) > ROUNDING:
        yield f"{len(shares)} shares of the rows in {blocks} blocks, which don't add up"
    if uncertainty.replicates.keys() != uncertainty.intervals.keys():
        yield "intervals of other metrics than those without each block"
    for name, replicates in uncertainty.replicates.items():
        # Approximations to first order, which can lie beyond the range of a metric.
        if len(replicates) != blocks or max(map(abs, replicates)) > LARGEST:
            yield f"{len(replicates)} values of {name} without each of {blocks} blocks"
        yield from _in_interval(name, uncertainty.intervals[name])
    if not rows or rows[0] <= 0 or rows[-1] != record.data.n or any(b <= a for a, b in pairwise(rows)):
        yield "convergence after other rows"
    for name, values in uncertainty.convergence.items():
        if len(values) != len(rows) or not all(value is None or _is_possible(name, value) for value in values):
            yield f"the convergence of {name}"
    if uncertainty.needed is not None and uncertainty.needed < 1:
        yield f"{uncertainty.needed} rows that are needed"


def _in_interval(name: str, interval: Interval, value: Value = None) -> Iterator[str]:
    slack = ROUNDING * max(1.0, abs(interval.low), abs(interval.high))
    if interval.standard_error < 0 or interval.low > interval.high + slack or slack > LARGEST:
        yield f"an interval of {name} that is none"
    if value is not None and not interval.low - slack <= value <= interval.high + slack:
        yield f"an interval of {name} without its value"


def _in_metrics(metrics: Mapping[str, Value], where: str) -> Iterator[str]:
    for name, value in metrics.items():
        if value is not None and not _is_possible(name, value):
            yield f"{name} = {value:.6g} of {where}"


def _is_possible(name: str, value: float) -> bool:
    """Tell whether a metric can have a value."""
    scale = METRICS[name].scale
    low = -LARGEST if scale == "real" else -ROUNDING
    return low <= value <= (1 + ROUNDING if scale in ("share", "clipped") else LARGEST)


def _in_layer(layer: Layer) -> Iterator[str]:
    if layer.p < 1:
        yield f"a layer of {layer.p} features"
    if set(LAYER_METRICS) - layer.metrics.keys():
        yield "a layer that lacks metrics"
    yield from _in_metrics(layer.metrics, "a layer")
    for name, interval in layer.intervals.items():
        yield from _in_interval(name, interval, layer.metrics.get(name))
    shares = layer.spectrum
    if len(shares) > layer.p or min(shares, default=0.0) < 0 or sum(shares) > 1 + ROUNDING:
        yield "a spectrum of a layer that is none"


def _in_last_layer(layers: Sequence[Layer], head: HeadInfo) -> Iterator[str]:
    if layers and (layers[-1].name, layers[-1].p) != (head.features, head.p):
        yield "layers whose last one is not the head's features"


def _in_initial(initial: Initial) -> Iterator[str]:
    if not 0 <= initial.rank <= initial.p or initial.p < 1:
        yield f"an initial model of {initial.p} features and rank {initial.rank}"
    yield from _in_metrics({"d_lr": initial.d_lr}, "the initial model")
    if initial.interval is not None:
        yield from _in_interval("d_lr of the initial model", initial.interval, initial.d_lr)
    if initial.change_interval is not None:
        yield from _in_interval("the change of d_lr", initial.change_interval, initial.change)
