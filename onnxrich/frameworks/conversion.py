"""Conversion of a framework's model and data to an ONNX file and arrays."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxrich.errors import DataError, Notice
from onnxrich.frameworks.export import write_export
from onnxrich.frameworks.items import peek
from onnxrich.frameworks.randomness import preserved_randomness
from onnxrich.frameworks.registry import (
    Adapter,
    Item,
    find_adapter,
    is_in_memory,
    join_labels,
    load_model,
    model_notices,
    model_title,
)


def load_folder(model: Any) -> Any:
    """Load the model of a framework where a folder holds it; anything else stays as it is.

    Raises:
        AdapterError: when no adapter reads the folder, or more than one.
    """
    is_folder = isinstance(model, str | os.PathLike) and os.path.isdir(model)  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
    return load_model(Path(model))[1] if is_folder else model


@dataclass(frozen=True, eq=False)
class ConvertedModel:
    """A model and its data as the core takes them.

    Attributes:
        model: the ONNX model.
        data: its data.
        labels: the labels that are not part of the data.
        name: name of the framework's model for messages, None for an ONNX model.
        notices: what the result must say of the conversion.
    """

    model: Any
    data: Any
    labels: Any
    name: str | None = None
    notices: tuple[Notice, ...] = ()


@contextlib.contextmanager
def as_onnx(model: Any, data: Any, labels: Any = None) -> Iterator[ConvertedModel]:
    """Convert a framework's model to an ONNX file that lasts as long as the context.

    ONNX models and their data pass through unchanged. At the end, all random states are as they were.

    Raises:
        AdapterError: when no adapter takes the model, or the export fails.
        DataError: when the data are a file or hold no rows.
    """
    if _is_onnx(model):
        yield ConvertedModel(model, data, labels)
        return
    adapter = find_adapter(model)
    with preserved_randomness(model, data), tempfile.TemporaryDirectory(prefix="onnxrich-") as folder:
        example, items, labels = _read_items(adapter, model, data, labels=labels)
        path = Path(folder) / "model.onnx"
        write_export(adapter, model, example, path=path)
        notices = model_notices(adapter, model, example)
        yield ConvertedModel(path, items, labels, model_title(model), notices)


def convert_data(model: Any, data: Any, labels: Any = None) -> tuple[Any, Any]:
    """Convert further data of a framework's model, and their labels; None stays None.

    Raises:
        AdapterError: when no adapter takes the model.
        DataError: when a framework's model comes with a file, or the data hold no rows.
    """
    if data is None or _is_onnx(model):
        return data, labels
    return _read_items(find_adapter(model), model, data, labels=labels)[1:]


def _is_onnx(model: Any) -> bool:
    return isinstance(model, str | os.PathLike | bytes | ModelProto)


def _read_items(adapter: Adapter, model: Any, data: Any, *, labels: Any) -> tuple[Item, Any, Any]:
    """The first item, all data or None, and the labels that are not part of the items."""
    if isinstance(data, str | os.PathLike):
        raise DataError(
            f"the model of type {model_title(model)} comes with a data file",
            "a loader, arrays, or a mapping of arrays",
            "Pass one of these, or export the model first: onnxrich.export(model, 'model.onnx', example).",
        )
    loader, labels = join_labels(data, labels)
    first, items = peek(adapter.batches(model, loader))
    if data is None:
        return first, None, labels
    return first, first if is_in_memory(data) else items, labels
