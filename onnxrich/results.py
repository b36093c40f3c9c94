"""What one analysis found: plain data, and the JSON document of schema `onnxrich.analysis/1`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from onnxrich.curves import Curves, curves, curves_on
from onnxrich.errors import DataError, Notice
from onnxrich.layers import Layer
from onnxrich.metrics import ALL, Metrics, Sample, evaluate, sample_of, select
from onnxrich.moments import Array, Moments
from onnxrich.uncertainty import Uncertainty, estimate, ordered, ordered_notice

SCHEMA = "onnxrich.analysis/1"

# The four choices that change the number (DESIGN: order of centring, rank, logits, rows), in words for the reader.
CHOICES = {
    "centring": "d_lr projects on the span of the raw outputs, then centres; d_lr_centered centres first",
    "rank": "output directions at or below rank_tolerance, relative to the largest, count as rounding noise",
    "outputs": "outputs of the last linear layer, before any softmax",
    "rows": "d_lr is of these rows: below about 10 rows a feature it is biased towards rich; d_lr_debiased is not",
}


@dataclass(frozen=True)
class ModelInfo:
    """Which file was analysed: path as given, SHA-256 of the file, producer, opset, number of parameters.

    `step` is that of the training, where the file says it: `onnxrich.export` writes it, and `onnxrich.Recorder`.
    `noted` are further numbers that it says under `onnxrich.`, such as `onnxrich.train_accuracy`.
    """

    path: str
    sha256: str
    producer: str
    opset: int
    parameters: int
    step: int | None = None
    noted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HeadInfo:
    """Where the numbers were read: tensor names, kind of operator and of rows, widths, and how the head was checked.

    `residual` is the relative distance of the outputs from Wφ + b, None when W and b can't be read from the graph;
    `mask` the input that said which rows to leave out.
    """

    features: str
    outputs: str
    kind: str
    rows: str
    p: int
    C: int
    verified: bool
    residual: float | None
    mask: str | None = None


@dataclass(frozen=True)
class DataInfo:
    """What was fed.

    Attributes:
        source: as a person would name it.
        n: number of rows that counted: samples, tokens or positions.
        classes: number of classes.
        synthetic: whether it was made up.
        samples: number of samples that were read.
        fingerprint: the same for two results on the same samples, whatever their order and their file.
        class_names: in the order of their indices, None where the data have none.
        preprocessing: what was done to the rows, each step with who declared it; None: nothing.
    """

    source: str
    n: int
    classes: int | None
    synthetic: bool
    samples: int
    fingerprint: str
    class_names: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RuntimeInfo:
    """What it ran on.

    Attributes:
        device: "cpu", "cuda", or the short name of another execution provider.
        providers: execution providers, in order.
        onnxruntime: its version.
        batch_size: samples a run.
        seconds: that the pass took.
        reason: why this device was chosen.
        devices: numbers of the devices, one session each.
        nodes: how many nodes of the graph each provider runs.
        blocks: number of blocks of moments, 1 where no uncertainties can be had.
        runs: consecutive batches that went to the same block.
        resumed: number of samples that a checkpoint brought.
        profile: seconds by stage.
        sequence: the same for two passes that had the same rows in the same batches.
    """

    device: str
    providers: tuple[str, ...]
    onnxruntime: str
    batch_size: int
    seconds: float
    reason: str = ""
    devices: tuple[int, ...] = (0,)
    nodes: Mapping[str, int] = field(default_factory=dict)
    blocks: int = 1
    runs: int = 1
    resumed: int = 0
    profile: Mapping[str, float] = field(default_factory=dict)
    sequence: str = ""


@dataclass(frozen=True)
class Record:
    """Everything about an analysis that can't be computed again from its moments.

    Attributes:
        model: which file.
        head: where the numbers were read.
        data: what was fed.
        runtime: what it ran on.
        notices: what a reader should know of these.
        asked: names of the metrics that were asked for; empty for those that are computed by default.
        beyond: metrics that need more than the moments: the blocks of rows, or the model's weights.
        uncertainty: errors of the metrics, which need the blocks too.
        layers: numbers of the hidden layers that were asked for, and at last of the head's features.
    """

    model: ModelInfo
    head: HeadInfo
    data: DataInfo
    runtime: RuntimeInfo
    notices: tuple[Notice, ...] = ()
    asked: tuple[str, ...] = ()
    beyond: Mapping[str, float | int | None] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None
    layers: tuple[Layer, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-able values."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The record from what `to_dict` gave.

        Raises:
            DataError: when a part is missing or unknown.
        """
        try:
            runtime = dict(record["runtime"])
            runtime |= {name: tuple(runtime[name]) for name in ("providers", "devices")}
            data = dict(record["data"])
            data["class_names"] = None if data["class_names"] is None else tuple(data["class_names"])
            kept = record.get("uncertainty")
            return cls(
                ModelInfo(**record["model"]),
                HeadInfo(**record["head"]),
                DataInfo(**data),
                RuntimeInfo(**runtime),
                tuple(Notice(**notice) for notice in record["notices"]),
                tuple(map(str, record.get("asked", ()))),
                {name: _number(value) for name, value in record.get("beyond", {}).items() if name in ALL},
                None if kept is None else Uncertainty.from_dict(kept),
                tuple(Layer.from_dict(layer) for layer in record.get("layers", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a record without a valid {error}",
                "model, head, data, runtime and notices",
                "Pass the moments.npz that `onnxrich run --output DIR` wrote.",
            ) from error


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that one analysis found.

    Attributes:
        record: model, head, data and runtime that it was found with.
        metrics: numbers by name, None where undefined; meanings in `onnxrich.metrics.MEANINGS`.
        curves: quality, utilization and intensity against the rank of the eigenfunctions.
        notices: what a reader should know, as `warnings` in the JSON.
        moments: the statistic that all of it was computed from.
        evaluation: the same of other data, with curves over the eigenfunctions of these; None when there are none.
    """

    record: Record
    metrics: Metrics
    curves: Curves
    notices: tuple[Notice, ...]
    moments: Moments
    evaluation: Results | None = None

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Errors of the metrics, convergence, and whether there are enough rows; None when blocks were not kept."""
        return self.record.uncertainty

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The hidden layers that were asked for, in the order in which they run, and at last the head's features."""
        return self.record.layers

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        record: Record,
        *,
        blocks: Sequence[Moments] = (),
        weight: Array | None = None,
        parameter_norm: float | None = None,
    ) -> Self:
        """Compute metrics, their errors and curves from moments.

        Args:
            moments: of all rows.
            record: where they come from. What needs blocks or weights is taken from it when these are not given.
            blocks: the moments that they are the sum of.
            weight: the head's W, float64 array of shape (C, p).
            parameter_norm: ‖θ‖² of the model.
        """
        return cls.from_sample(sample_of(moments, blocks, weight=weight, parameter_norm=parameter_norm), record)

    @classmethod
    def from_sample(cls, sample: Sample, record: Record, *, fitted: Sample | None = None) -> Self:
        """Compute metrics, their errors and curves of a sample.

        Args:
            sample: the rows.
            record: where they come from.
            fitted: the rows of whose eigenfunctions the curves are; those of the sample itself when left out.
        """
        names = select(record.asked or None)
        # Tokens of a sample are alike in any order: only rows that are samples can be told to be in one.
        ratio = ordered(sample) if record.head.rows == "sample" else None
        if ratio is not None:
            sample = replace(sample, ordered=True)
            if not any(notice.code == "sorted_by_class" for notice in record.notices):
                record = replace(record, notices=(*record.notices, ordered_notice(ratio)))
        metrics, about_metrics = evaluate(sample, names)
        metrics |= {name: value for name, value in record.beyond.items() if metrics.get(name, 0) is None}
        beyond = {name: metrics[name] for name in names if ALL[name].beyond}
        record = replace(record, beyond=beyond, uncertainty=estimate(sample, names) or record.uncertainty)
        drawn, about_curves = curves(sample) if fitted is None else curves_on(fitted, sample)
        return cls(record, metrics, drawn, (*record.notices, *about_metrics, *about_curves), sample.moments)

    def evaluated(self, evaluation: Results | None) -> Self:
        """The same results with those of other data."""
        return replace(self, evaluation=evaluation)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], moments: Moments, record: Record) -> Self:
        """The results whose `to_dict` gave a document, without computing anything again."""
        drawn = {entry.name: document["curves"][entry.name] for entry in fields(Curves)}
        arrays: dict[str, Any] = {
            name: None if values is None else np.asarray(values) for name, values in drawn.items()
        }
        notices = tuple(Notice(**notice) for notice in document["warnings"])
        return cls(record, dict(document["metrics"]), Curves(**arrays), notices, moments)

    def timed(self, seconds: Mapping[str, float]) -> Self:
        """The same results with the seconds of each stage in their record."""
        runtime = replace(self.record.runtime, profile=dict(seconds))
        return replace(self, record=replace(self.record, runtime=runtime))

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `onnxrich.analysis/1`: JSON-able, without NaN or infinity."""
        record = self.record.to_dict()
        described = {name: record[name] for name in ("model", "head", "data", "runtime")}
        return {
            "schema": SCHEMA,
            **described,
            "metrics": dict(self.metrics),
            "uncertainty": record["uncertainty"],
            "layers": record["layers"],
            "choices": dict(CHOICES),
            "curves": _curves_dict(self.curves),
            "warnings": [asdict(notice) for notice in self.notices],
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text that ends with a newline."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def _number(value: Any) -> float | int | None:
    return value if value is None or isinstance(value, int) else float(value)


def _curves_dict(drawn: Curves) -> dict[str, Any]:
    names = [entry.name for entry in fields(drawn)]
    result: dict[str, Any] = {name: _list(getattr(drawn, name)) for name in names}
    cumulative = [name for name in names if name not in ("k", "intensity")]
    result["individual"] = {name: _list(drawn.individual(name)) for name in cumulative}
    return result


def _list(values: Array | None) -> list[float] | None:
    return None if values is None else values.tolist()
