"""Export a framework's model to ONNX: written by its adapter, checked against the framework, marked with metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

import onnx
from onnx import ModelProto

from onnxrich.errors import AdapterError, DataError, OnnxrichError
from onnxrich.frameworks import parity
from onnxrich.frameworks import registry as plugins
from onnxrich.frameworks.registry import Adapter, Item
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
