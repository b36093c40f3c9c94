"""Where results come from: model, head, data and runtime of an analysis, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from onnxrich._utils.text import BoundedNames
from onnxrich.errors import DataError, Notice
from onnxrich.metrics.jackknife import Uncertainty
from onnxrich.metrics.registry import METRICS
from onnxrich.results.anchors import Initial
from onnxrich.results.layer import Layer, known_metrics
from onnxrich.results.serialize import from_values, to_values


@dataclass(frozen=True)
class ModelInfo(BoundedNames):
    """Which file was analysed: path as given, SHA-256 with external weights, producer, opset, number of parameters.

    `step` is that of the training, where the file says it: `onnxrich.export` writes it, and `onnxrich.Recorder`.
    `noted` are further numbers that it says under `onnxrich.`, such as `onnxrich.train_accuracy`.
    `weights_sha256` is the same for another export of the same weights; None in results of 0.1.0.
    """

    path: str
    sha256: str
    producer: str
    opset: int
    parameters: int
    step: int | None = None
    noted: Mapping[str, float] = field(default_factory=dict)
    weights_sha256: str | None = None


@dataclass(frozen=True)
class HeadInfo(BoundedNames):
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
class DataInfo(BoundedNames):
    """What was fed.

    Attributes:
        source: as a person would name it.
        n: number of rows that counted: samples, tokens or positions.
        classes: number of classes that the targets tell apart, None without any: one for each output, two for a single
            one, or more where labels or names of classes go beyond. Not all have to occur.
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
class RuntimeInfo(BoundedNames):
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
class Provenance:
    """Everything about an analysis that can't be computed again from its moments.

    Attributes:
        model: which file.
        head: where the numbers were read.
        data: what was fed.
        runtime: what it ran on.
        notices: what a reader should know of these.
        asked: names of the metrics that were asked for; empty for those that are computed by default.
        beyond: metrics that need more than the moments: the blocks of rows, or the model's weights.
        lacking: names of those among them that were asked for when there were the moments alone: nobody knows them.
        uncertainty: errors of the metrics, which need the blocks too.
        layers: numbers of the hidden layers that were asked for, and at last of the head's features.
        initial: the network that the training began from, where it is given.
    """

    model: ModelInfo
    head: HeadInfo
    data: DataInfo
    runtime: RuntimeInfo
    notices: tuple[Notice, ...] = ()
    asked: tuple[str, ...] = ()
    beyond: Mapping[str, float | int | None] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()
    uncertainty: Uncertainty | None = None
    layers: tuple[Layer, ...] = ()
    initial: Initial | None = None

    @property
    def misnumbered(self) -> bool:
        """Whether the classes have probably other numbers than their outputs, so that nothing is to rest on these."""
        return any(notice.code == "fewer_classes" for notice in self.notices)

    def asking(self, names: tuple[str, ...]) -> Self:
        """The record with other metrics asked for; a notice names those that moments alone don't give."""
        known = self.beyond.keys() - set(self.lacking)
        lacking = tuple(name for name in names if METRICS[name].needs_more_than_moments and name not in known)
        message = (
            f"Saved moments don't give {', '.join(lacking)}: these take the blocks of rows, the weights or a second "
            "pass over the data, and were not asked for when the moments were saved."
        )
        # What was lacking before may not be asked for any more.
        notices = [notice for notice in self.notices if notice.code != "not_saved"]
        notices += [Notice("not_saved", message)] if lacking else []
        return replace(self, asked=names, lacking=lacking, notices=tuple(notices))

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return to_values(self)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the record that `to_dict` gave; metrics that this version doesn't know are left out.

        Raises:
            DataError: when a part is missing or has another form.
        """
        try:
            # No result holds NaN or infinity: JSON has none.
            json.dumps(record, allow_nan=False)
            return from_values(cls, _known_metrics(record))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a record without a valid {error}",
                "model, head, data, runtime and notices",
                "Pass the moments.npz that `onnxrich run --output DIR` wrote.",
            ) from error


def _known_metrics(record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out metrics that this version doesn't know, wherever a record holds some by name."""
    known = dict(record)
    known["beyond"] = _named(record.get("beyond", {}))
    if known.get("uncertainty") is not None:
        uncertainty = known["uncertainty"]
        known["uncertainty"] = uncertainty | {part: _named(uncertainty[part]) for part in ("intervals", "convergence")}
    known["layers"] = [known_metrics(layer) for layer in record.get("layers", ())]
    return known


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in METRICS}
