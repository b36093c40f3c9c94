"""A framework's model and its data, as the core takes them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxrich.errors import DataError
from onnxrich.frameworks import export as exporting
from onnxrich.frameworks import registry as plugins
from onnxrich.frameworks.registry import Adapter, Item


@contextlib.contextmanager
def as_onnx(model: Any, data: Any, labels: Any = None) -> Iterator[tuple[Any, Any, Any, str | None]]:
    """Model, data and labels as the core takes them, for as long as the context lasts, and how messages name the model.

    A framework's model, also one that a folder holds, becomes an ONNX file; anything else is passed through.

    Raises:
        AdapterError: when no adapter takes the model, or it can't be exported.
        DataError: when the data are a file, or hold no rows.
    """
    if isinstance(model, str | os.PathLike) and os.path.isdir(model):  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
        model = plugins.load_model(Path(model))[1]
    if isinstance(model, str | os.PathLike | bytes | ModelProto):
        yield model, data, labels, None
        return
    adapter = plugins.find_adapter(model)
    first, given, labels = _read(adapter, model, data, labels)
    with tempfile.TemporaryDirectory(prefix="onnxrich-") as folder:
        path = Path(folder) / "model.onnx"
        exporting.write(adapter, model, first, path)
        yield path, given, labels, plugins.model_title(model)


def rows(model: Any, data: Any, labels: Any = None) -> tuple[Any, Any]:
    """Further data of a model as the core takes them, and their labels; None stays None.

    Raises:
        AdapterError: when no adapter takes the model.
        DataError: when a framework's model comes with a file, or the data hold no rows.
    """
    if data is None or isinstance(model, str | os.PathLike | bytes | ModelProto):
        return data, labels
    return _read(plugins.find_adapter(model), model, data, labels)[1:]


def _read(adapter: Adapter, model: Any, data: Any, labels: Any) -> tuple[Item, Any, Any]:
    """The first item, all data, and the labels that are not part of them."""
    if isinstance(data, str | os.PathLike):
        raise DataError(
            f"a model of type {plugins.model_title(model)} and a data file",
            "a loader, arrays, or a mapping of arrays",
            "Pass these, or export the model first: onnxrich.export(model, 'model.onnx', example).",
        )
    loader, labels = plugins.join_labels(data, labels)
    first, items = exporting.peek(adapter.batches(model, loader))
    return first, None if data is None else first if plugins.in_memory(data) else items, labels
