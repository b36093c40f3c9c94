"""Options of the public verbs, each declared once: its name, default, meaning, and how the command line writes it.

`cli` builds these classes from the command line and `api` from keyword arguments, `isolation` sends them to the worker,
and the pipelines take them. They import nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from onnxrich._utils.validation import KINDS, validated
from onnxrich.errors import DataError, WorkerError
from onnxrich.progress import Listener, Progress

if TYPE_CHECKING:
    from onnxrich.data.preprocessing.steps import Preprocessing
    from onnxrich.data.selection import Selection

# How rows are read and prepared: fields of `Selection` and of `Preprocessing`, which are options too.
READING = ("limit", "shuffle", "balanced", "max_errors", "text", "tokenizer")
PREPROCESSING = ("color", "resize", "resample", "crop", "scale", "mean", "std", "layout")

# The name that stands for all hidden layers.
ALL_LAYERS = "all"


def option(default: Any, meaning: str, metavar: str | None = None, *, in_python: str = "") -> Any:
    """Declare an option as a dataclass field.

    Args:
        default: value of an option that is left out; `MISSING` where it can't be.
        meaning: one or two sentences for `--help` and for the docstring of the public function.
        metavar: what the command line shows in place of a value; None for options of Python alone and for flags.
        in_python: what the docstring says beside the meaning.
    """
    return field(default=default, metadata={"meaning": meaning, "metavar": metavar, "in_python": in_python})


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Where the work is done, who hears of its progress, and what ends it."""

    progress: Callable[[Progress], None] | None = option(
        None, "Function that is called with a `Progress` now and then."
    )
    isolate: bool = option(
        False, "Work in a worker process, so that an untrusted file can crash or hang that alone. Needs paths."
    )
    timeout: float | None = option(None, "End the work after so many seconds. Needs the worker process.", "SECONDS")
    stall_timeout: float | Literal["none"] | None = option(
        None,
        "End the work after so many seconds without progress, or none; by default 120, and 600 for each GiB of its "
        "memory. Needs the worker process.",
        "SECONDS",
    )
    max_memory: int | Literal["none"] | None = option(
        None,
        "End the work when the worker and its children have more memory of their own than that, such as 4G, or none; "
        "by default 90% of what is free. Mapped files don't count; libraries take some 45M.",
        "SIZE",
        in_python='In Python it is an integer, of bytes, or "none".',
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            # Functions differ in what they take for a field of type Any: a model that is compared is no path alone.
            if each.name in KINDS and each.type != "Any":
                value = validated(**{each.name: getattr(self, each.name)})[each.name]
                object.__setattr__(self, each.name, value)
        limits = (self.timeout, self.stall_timeout, self.max_memory)
        if not self.isolate and any(limit is not None for limit in limits):
            raise WorkerError(
                "a time or memory limit for work in this process", "a process of its own", "Pass isolate=True as well."
            )

    @property
    def memory_limit(self) -> int | None:
        """Bytes of memory that the user grants; None where that is left to the machine."""
        return self.max_memory if isinstance(self.max_memory, int) else None

    @property
    def listen(self) -> Listener:
        """The listener; one that does nothing where none is given."""
        return self.progress or (lambda _: None)

    def given(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name; arrays have no truth value."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {
            name: value
            for name, (value, default) in values.items()
            if value is not default and not (isinstance(value, str | int) and value == default)
        }


@dataclass(frozen=True, kw_only=True)
class HeadOptions(WorkOptions):
    """Which head of a model is meant."""

    features: str | None = option(None, "Take this tensor as the penultimate layer.", "NAME")
    outputs: str | None = option(None, "Take this tensor as the outputs of the last linear layer.", "NAME")
    head: int | None = option(None, "Which of several heads, from 1; `onnxrich inspect` lists them.", "K")


@dataclass(frozen=True)
class _DataOptions:
    """The data, which may be passed by position."""

    data: Any = option(
        None,
        "A file, a folder or a URL: .npz, .npy, idx, a folder of images …; KIND:DATA where its name doesn't say. By "
        "default `onnxrich.toml` or a data file beside the model, else random rows.",
        "DATA",
        in_python="Also an array, a mapping from input name to array, an iterable of such mappings, or a loader.",
    )
    labels: Any = option(
        None,
        "Field of the data, or a file; `labels`, `label` or `y` is found by itself. Integers are classes, floats real "
        "targets.",
        "NAME|FILE",
        in_python="Also an array.",
    )


@dataclass(frozen=True, kw_only=True)
class _RowOptions:
    """Which rows are read and what is done to them: fields of `Selection` and `Preprocessing` by their own names."""

    limit: int | None = option(None, "Read N rows at most.", "N")
    shuffle: bool = option(False, "Draw the rows at random, by --seed.")
    balanced: bool = option(False, "Take the same number of rows of each class.")
    max_errors: int = option(0, "Leave out up to N items that can't be read.", "N")
    text: str | None = option(None, "Column of texts, which --tokenizer turns into the inputs.", "COLUMN")
    tokenizer: str | os.PathLike[str] | None = option(
        None, "The tokenizer.json that the model was trained with.", "FILE"
    )
    resize: Any = option(None, "Scale images: the shorter side, or both.", "S|HxW")
    crop: Any = option(None, "Cut this out of the middle of images.", "S|HxW")
    resample: str | None = option(None, "Filter of --resize; bilinear when left out.", "FILTER")
    color: str | None = option(None, "Order of colours that the model takes.", "COLOR")
    scale: Any = option(None, "Multiply by F, such as 1/255; before --mean and --std.", "F")
    mean: Any = option(None, "Subtract, one number or one a channel.", "M,…")
    std: Any = option(None, "Divide by, one number or one a channel.", "S,…")
    layout: str | None = option(None, "Where the model takes the channels of images.", "LAYOUT")


@dataclass(frozen=True, kw_only=True)
class PassOptions(HeadOptions, _RowOptions, _DataOptions):
    """One pass over data: which rows, what is measured, and how it runs."""

    mask: str | None = option(
        None,
        "Input that is 0 for tokens or positions to leave out; not:NAME where it is 1 for them, none to count all. "
        "`attention_mask` and `decoder_attention_mask` are taken by themselves.",
        "NAME",
    )
    ignore_label: int | None = option(
        None,
        "Leave out samples, tokens or positions with this label, such as 255 for void. Labels below zero of tokens and "
        "positions are left out by themselves.",
        "N",
    )
    batch_axis: str | int | Mapping[str, int] | None = option(
        None,
        "Axis of the samples in the inputs, from 0, where it is not the first: for all, or NAME=N for some.",
        "N|NAME=N,…",
        in_python="Also a mapping from input name to axis. By default the names of the dimensions tell it.",
    )
    metrics: Sequence[str] | None = option(
        None,
        "Metrics, or families of them; `default`, `all`; `onnxrich metrics` lists them. `readouts` take a second pass.",
        "NAMES",
        in_python="D_LR is always computed.",
    )
    batch_size: int | None = option(
        None,
        "Samples a run; by default as the size of a row suggests.",
        "N",
        in_python="A batch that memory does not hold is run in parts, and a notice says so.",
    )
    blocks: int | None = option(
        None,
        "Blocks of rows that error bars are computed from, at least 4; 16 by default, 0 or 1 for none.",
        "N",
        in_python="By default there are fewer where the moments of all models would take more than 1 GiB.",
    )
    device: str = option(
        "auto", "cpu, cuda, cuda:N, cuda:0,1 or cuda:all for several; auto takes CUDA where it is there.", "DEVICE"
    )
    provider: str | None = option(
        None,
        "Another execution provider of ONNX Runtime, such as tensorrt or openvino:device_type=CPU.",
        "NAME[:KEY=VALUE,…]",
    )
    reading: Selection | Mapping[str, Any] | None = option(
        None, "Which rows are read as one value: a `Selection`, or a mapping of its fields such as {'limit': 1000}."
    )
    preprocessing: Preprocessing | Mapping[str, Any] | None = option(
        None,
        "What is done to the rows as one value: a `Preprocessing`, or a mapping of its fields: {'scale': 1 / 255}.",
        in_python="What is left out is looked for in `onnxrich.toml`, the model and a `preprocessor_config.json`.",
    )
    seed: int = option(0, "Seed of rows drawn at random, and of rows made up without data.", "N")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metrics is not None:
            from onnxrich.metrics.registry import select

            object.__setattr__(self, "metrics", select(self.metrics))
        self._gather("reading", READING)
        self._gather("preprocessing", PREPROCESSING)

    def _gather(self, whole: str, names: Sequence[str]) -> None:
        """Move options of the rows into the one value that the pipelines take.

        Raises:
            DataError: when they are given both by themselves and as one value.
        """
        defaults = {each.name: each.default for each in fields(_RowOptions)}
        values = {name: getattr(self, name) for name in names}
        # Arrays have no truth value: only numbers and truths, whose types are checked by now, are compared.
        given = {
            name: value
            for name, value in values.items()
            if value is not defaults[name] and not (isinstance(defaults[name], int) and value == defaults[name])
        }
        if not given:
            return
        if getattr(self, whole):
            raise DataError(
                f"{', '.join(given)} beside {whole}", "one of the two", f"Put it into {whole}, or leave {whole} out."
            )
        object.__setattr__(self, whole, given)
        for name in given:
            object.__setattr__(self, name, defaults[name])


@dataclass(frozen=True, kw_only=True)
class RunOptions(PassOptions):
    """Options of `onnxrich run`."""

    init: Any = option(
        None,
        "The model before its training: its D_LR, on the same rows, is a mark on the scale.",
        "MODEL",
        in_python="The path of an ONNX file, its bytes or a ModelProto.",
    )
    eval_data: Any = option(
        None,
        "Other data to evaluate on, over the eigenfunctions of the first.",
        "FILE",
        in_python="Their metrics and curves are the result's `evaluation`.",
    )
    eval_labels: Any = option(None, "Labels of the data to evaluate on: a field of theirs, or a file.", "KEY|FILE")
    layers: Literal["all"] | Sequence[str] | None = option(
        None,
        "Measure hidden layers too, all or those named; `onnxrich inspect --layers` lists them.",
        "all|NAMES",
        in_python="Names are of tensors or modules. Maps are averaged over their positions, tokens over those that the "
        "mask leaves.",
    )
    token: int | None = option(
        None,
        "Take this token of layers that have some, not the mean of all; negative ones count from the end.",
        "N",
    )
    checkpoint: str | os.PathLike[str] | None = option(
        None, "Keep the sums and the position there, about every 5 s, and go on from it when it is there.", "FILE"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is None and self.token is not None:
            raise DataError(
                f"token {self.token} without layers", "layers to take it from", "Pass --layers all as well."
            )
        if self.layers is not None and not (self.layers and all(self.layers)):
            raise DataError(f"layers {self.layers!r}", '"all", or names', "Pass --layers all, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class SeriesOptions(PassOptions):
    """Options of `onnxrich compare` and `onnxrich track`."""

    init: Any = option(
        None,
        "The model before its training: adds S_init, how alike the features still are, and its D_LR as a mark.",
        "MODEL",
        in_python="A comparison adds it as its last model when it is none of the models.",
    )


@dataclass(frozen=True, kw_only=True)
class LoadOptions(WorkOptions):
    """Options of `onnxrich render`."""

    evaluation: str | os.PathLike[str] | None = option(
        None, "The evaluation.npz of the same run, or its folder.", "FILE"
    )
    metrics: Sequence[str] | None = option(
        None, "Metrics or families of them; those that were asked for before when left out.", "NAMES"
    )


@dataclass(frozen=True, kw_only=True)
class InspectOptions(WorkOptions):
    """Options of `onnxrich inspect`."""

    verify: bool = option(True, "Run the model on a few made-up rows to verify each head.")


@dataclass(frozen=True)
class _FileOptions:
    """The file to write, which may be passed by position."""

    output: str | os.PathLike[str] = option(
        MISSING, "File to write; beside the model when that has external weights, which are not copied.", "FILE"
    )


@dataclass(frozen=True, kw_only=True)
class ExposeOptions(HeadOptions, _FileOptions):
    """Options of `onnxrich expose`."""

    force: bool = option(False, "Replace the file when it is there.")


@dataclass(frozen=True)
class _PilotOptions(_FileOptions):
    """The data whose first rows give a shift."""

    data: Any = option(
        None, "Data; the first rows give a shift, which keeps digits where features have a large mean.", "FILE"
    )


@dataclass(frozen=True, kw_only=True)
class InstrumentOptions(HeadOptions, _PilotOptions):
    """Options of `onnxrich instrument`."""

    force: bool = option(False, "Replace the file when it is there.")


@dataclass(frozen=True)
class _ExampleOptions:
    """The file to write, and rows to export with."""

    output: str | os.PathLike[str] = option(
        MISSING, "ONNX file to write; weights that are too large for one file go beside it.", "FILE"
    )
    example: Any = option(
        None,
        "An .npz file with rows to export with, where the model doesn't say its shapes itself.",
        "FILE",
        in_python="Also an item of the framework's loader, a loader, an array, or a mapping of arrays.",
    )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(WorkOptions, _ExampleOptions):
    """Options of `onnxrich export`."""

    force: bool = option(False, "Replace the file when it is there.")
    step: int | None = option(None, "Step of the training, for the metadata.", "N")


def described(kind: type[WorkOptions]) -> list[Field[Any]]:
    """The fields of an options class that have a meaning, in the order of a signature."""
    return [each for each in fields(kind) if "meaning" in each.metadata]
