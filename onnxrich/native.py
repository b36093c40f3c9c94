"""A framework's model and its data, as the core takes them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxrich import exporting, plugins
from onnxrich.errors import DataError


@contextlib.contextmanager
def taken(model: Any, data: Any) -> Iterator[tuple[Any, Any, str | None]]:
    """Model and data as the core takes them, for as long as the context lasts, and how messages name the model.

    A framework's model, also one that a folder holds, becomes an ONNX file; anything else is passed through.

    Raises:
        AdapterError: when no adapter takes the model, or it can't be exported.
        DataError: when the data are a file, or hold no rows.
    """
    if isinstance(model, str | os.PathLike) and Path(model).is_dir():
        model = plugins.load(Path(model))[1]
    if isinstance(model, str | os.PathLike | bytes | ModelProto):
        yield model, data, None
        return
    adapter, name = plugins.find(model), type(model).__qualname__
    _refuse_file(name, data)
    first, items = exporting.peek(adapter.batches(model, data))
    with tempfile.TemporaryDirectory(prefix="onnxrich-") as folder:
        path = Path(folder) / "model.onnx"
        exporting.write(adapter, model, first, path)
        yield path, None if data is None else first if _in_memory(data) else items, name


def rows(model: Any, data: Any) -> Any:
    """Further data of a model as the core takes them; None stays None.

    Raises:
        AdapterError: when no adapter takes the model.
        DataError: when a framework's model comes with a file, or the data hold no rows.
    """
    if data is None or isinstance(model, str | os.PathLike | bytes | ModelProto):
        return data
    _refuse_file(type(model).__qualname__, data)
    first, items = exporting.peek(plugins.find(model).batches(model, data))
    return first if _in_memory(data) else items


def _refuse_file(name: str, data: Any) -> None:
    if isinstance(data, str | os.PathLike):
        raise DataError(
            f"a model of type {name} and a data file",
            "a loader, arrays, or a mapping of arrays",
            "Pass these, or export the model first: onnxrich.export(model, 'model.onnx', example).",
        )


def _in_memory(data: Any) -> bool:
    """Whether data are one item: an array of any framework, or a mapping of arrays."""
    return hasattr(data, "shape") or hasattr(data, "keys")
