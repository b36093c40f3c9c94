"""Export a framework's model to ONNX: written by its adapter, checked against the framework, marked with metadata."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import onnx
from onnx import ModelProto

from onnxrich._utils import validation as checked
from onnxrich._utils.files import refusal
from onnxrich.data.formats.numpy import read_arrays
from onnxrich.errors import AdapterError, DataError, OnnxrichError, OutputError
from onnxrich.frameworks import parity
from onnxrich.frameworks import registry as plugins
from onnxrich.frameworks import spec as specs
from onnxrich.frameworks.registry import Adapter, Item
from onnxrich.isolation import supervisor as supervise
from onnxrich.model import file as models


@dataclass(frozen=True)
class Export:
    """A model that was exported, and how far it is from the framework's own computation.

    Attributes:
        path: the ONNX file.
        inputs: names of its inputs.
        outputs: names of its outputs.
        framework: name and version of the framework.
        error: largest distance of an output from the framework's, relative to the largest value of that output.
        allowed: distance up to which that is rounding.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    framework: str
    error: float
    allowed: float

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON-able values."""
        return asdict(self) | {"path": str(self.path)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """The export that `to_dict` gave."""
        lists = {name: tuple(facts[name]) for name in ("inputs", "outputs")}
        return cls(**{**facts, **lists, "path": Path(facts["path"])})


def export(
    model: Any,
    output: str | os.PathLike[str],
    example: Any = None,
    *,
    force: bool = False,
    step: int | None = None,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Export:
    """Write a framework's model as an ONNX file with an open batch size, checked against the framework.

    Args:
        model: the model, or what `onnxrich export` takes: a file or folder of a framework, or `package.module:build`, a
            function without arguments that gives the model, or the model and an example.
        output: file to write; weights too large for one file go beside it.
        example: rows to export with: an item of the framework's loader, a loader, an array, a mapping of arrays, or the
            path of an `.npz` file; left out where the model says its shapes itself.
        force: replace the file when it is there.
        step: of the training, kept in the file's metadata.
        isolate: work in a process of its own. Needs paths or names.
        timeout: seconds after which that is ended.
        max_memory: bytes of memory at which that is ended.

    Raises:
        AdapterError: when no adapter takes the model, or its export is not what the framework computes.
        DataError: when the example holds no rows.
        OutputError: when the file is there, or can't be written.
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    wanted = checked.validated(output=output, step=step)
    if isolate:
        given = {"example": None if example is None else supervise.path_of(example, "example")}
        request = wanted | given | {"model": supervise.path_of(model), "force": force}
        return Export.from_dict(supervise.call("export", request, timeout=timeout, max_memory=max_memory)[0])
    target = Path(wanted["output"])
    _check_target(target, force)
    if isinstance(model, str | os.PathLike):
        adapter, model, made = specs.resolve_spec(os.fspath(model))
        example = made if example is None else example
    else:
        adapter = plugins.find_adapter(model)
    first = _example(adapter, model, example)
    try:
        with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".onnxrich-") as folder:
            done = write(adapter, model, first, Path(folder) / target.name, step=wanted["step"])
            # The model comes last: it names the others.
            files = sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name)
            for file in files:
                _check_target(target.with_name(file.name), force)
            for file in files:
                file.replace(target.with_name(file.name))
    except OnnxrichError:
        raise
    except OSError as error:
        raise refusal(target.parent, error) from error
    return replace(done, path=target)


def write(adapter: Adapter, obj: Any, example: Item, path: Path, *, step: int | None = None) -> Export:
    """Export a model to a file of a folder that nobody else looks at yet, and check it.

    Args:
        adapter: of the model's framework.
        obj: the model.
        example: an item of `Adapter.batches`.
        path: file to write.
        step: of the training, for the metadata.

    Raises:
        AdapterError: when the exporter fails, the batch axis is fixed, or the outputs are not the framework's.
    """
    rows = parity.cut(example, parity.FEWEST, parity.MOST)
    framework = _exported(adapter, obj, rows, path)
    read = replace(models.read_model(path), path=plugins.model_title(obj))
    parity.check_free(read, rows)
    error, allowed = parity.distance(read, partial(adapter.forward, obj), rows)
    if not error <= allowed:
        raise AdapterError(
            f"the ONNX model of {read.path} differs from {framework} by {error:.1e}",
            f"at most {allowed:.1e} of the largest output, which rounding explains",
            "Look for randomness, data-dependent branches or state in its forward pass, or export it yourself.",
        )
    with path.open("ab") as file:
        # Serialized protobuf messages merge when they are joined.
        file.write(marked(ModelProto(), framework, step).SerializeToString())
    outputs = tuple(value.name for value in read.proto.graph.output)
    return Export(path, tuple(entry.name for entry in read.inputs), outputs, framework, error, allowed)


def _exported(adapter: Adapter, obj: Any, rows: Item, path: Path) -> str:
    try:
        return adapter.to_onnx(obj, rows, path)
    except OnnxrichError:
        raise
    except ModuleNotFoundError as error:
        raise plugins.missing_package(error, f"to export {plugins.model_title(obj)}") from error
    except Exception as error:
        root = _root(error)
        lines = str(root).strip().splitlines() or ["no message"]
        raise AdapterError(
            f"{plugins.model_title(obj)} can't be exported: {type(root).__name__}: {lines[0]}",
            "a model that its framework's exporter takes, and rows that fit it",
            "Look at the cause of this error (--debug), or export it yourself.",
        ) from error


def _root(error: BaseException) -> BaseException:
    """What an error was raised from in the end: exporters wrap it in news of their own progress."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_target(path: Path, force: bool) -> None:
    if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
        raise OutputError(f"{path} is a folder", "a name for a file", "Pass --output FILE.onnx.")
    if os.path.exists(path) and not force:  # noqa: PTH110 - as above
        raise OutputError(f"{path} is there", "a new file", "Pass another name, or --force to replace it.")


def _example(adapter: Adapter, model: Any, example: Any) -> Item:
    if isinstance(example, str | os.PathLike):
        example = read_arrays(example, rows=parity.MOST)
    elif isinstance(example, tuple | list):
        example = [example]
    return peek(adapter.batches(model, example))[0]


def peek(items: Any) -> tuple[Item, Any]:
    """The first item, and all items again.

    Raises:
        DataError: when there is none.
    """
    iterator = iter(items)
    first = next(iterator, None)
    if first is None:
        raise DataError("no rows in the data", "at least one row", "Pass data with rows.")
    return first, chain([first], iterator) if iterator is items else items


def marked(proto: ModelProto, framework: str, step: int | None) -> ModelProto:
    """Note in a model where it comes from."""
    name, _, version = framework.partition(" ")
    marks = {"framework": name, "framework_version": version} | ({} if step is None else {"step": str(step)})
    onnx.helper.set_model_props(proto, {f"onnxrich.{key}": value for key, value in marks.items()})
    return proto
