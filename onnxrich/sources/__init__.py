"""Where rows come from: one file per kind of source, all giving the same `Batch`es."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.files import open_regular
from onnxrich.model import Model
from onnxrich.sources.base import Batch, Column, Source, as_array, check_batch, check_labels, from_columns
from onnxrich.sources.npy import read_npy, read_npz
from onnxrich.sources.stream import LABEL_KEYS, from_iterable
from onnxrich.sources.synthetic import synthesize

__all__ = ["Batch", "Source", "open_source"]

SUFFIXES = (".npz", ".npy")
SETTINGS = "onnxrich.toml"


def open_source(model: Model, data: Any, labels: Any, seed: int) -> Source:
    """The source of some data, fitted to a model's inputs.

    Args:
        model: the model that the data are for.
        data: path of an `.npz` or `.npy` file, one array, a mapping from input name to array, an iterable of such
            mappings, or None: then what lies beside the model (`onnxrich.toml`, or a file of the model's name), else
            synthetic rows.
        labels: array, path of a file, or key of the labels in the source; None: the key `labels` or `y` of the source,
            when it is there and is no input.
        seed: for synthetic rows.

    Raises:
        DataError: when the data can't be read or don't fit.
    """
    check_batch(model.inputs)
    if data is None:
        data, labels = _beside(model, labels)
    if data is None and labels is not None:
        raise DataError("labels without data", "the data that they belong to", "Pass --data FILE as well.")
    if data is None:
        return synthesize(model, seed)
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return _from_columns(model, path.name, _read(path), labels)
    if isinstance(data, Mapping):
        columns = {str(name): Column.of(str(name), as_array(str(name), array)) for name, array in data.items()}
        return _from_columns(model, "arrays", columns, labels)
    if isinstance(data, np.ndarray):
        return _from_columns(model, "array", {"array": Column.of("array", data)}, labels)
    if isinstance(data, Iterable):
        if labels is not None and not isinstance(labels, str):
            raise DataError("an iterable with separate labels", "labels inside its items", "Yield them under a key.")
        return from_iterable(data, model.inputs, labels)
    raise DataError(
        f"data of type {type(data).__name__}", "a path, an array, a mapping or an iterable", "Pass one of these."
    )


def _from_columns(model: Model, name: str, columns: Mapping[str, Column], labels: Any) -> Source:
    inputs = {entry.name for entry in model.inputs}
    held = {key: column for key, column in columns.items() if key in inputs}
    free = {key: column for key, column in columns.items() if key not in inputs}
    marks: Column | None = None
    if isinstance(labels, str | os.PathLike):
        key = os.fspath(labels)
        # Targets may be an input as well: those of an autoencoder are.
        marks = free.pop(key, None) or held.get(key) or _labels_file(name, columns, key)
    elif labels is not None:
        marks = Column.of("labels", as_array("labels", labels))
    else:
        key = next((key for key in LABEL_KEYS if key in free and len(columns) > 1), "")
        marks = free.pop(key, None)
    if marks is not None:
        check_labels(marks.name, marks.dtype, marks.shape)
    return from_columns(name, held | free, marks, model.inputs)


def _read(path: Path) -> dict[str, Column]:
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.suffix.lower() == ".npy":
        column = read_npy(path)
        return {column.name: column}
    open_regular(path, DataError, "a data file").close()
    raise DataError(f"{path.name}: unknown kind of file", "an .npz or .npy file", "Save the arrays with numpy.savez.")


def _labels_file(name: str, columns: Mapping[str, Column], key: str) -> Column:
    path = Path(key)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"no array {key!r} in {name}, which holds {', '.join(map(repr, columns))}",
            "the key of the labels, or an .npz or .npy file",
            "Pass --labels KEY or --labels FILE.",
        )
    found = _read(path)
    if len(found) > 1:
        found = {name: column for name, column in found.items() if name in LABEL_KEYS}
    if len(found) != 1:
        raise DataError(f"{path.name} holds several arrays", "one of labels", "Name it `labels`, or save it alone.")
    return next(iter(found.values()))


def _beside(model: Model, labels: Any) -> tuple[Path | None, Any]:
    """What lies beside the model: what `onnxrich.toml` names, or a data file of the model's name."""
    if model.folder is None:
        return None, labels
    settings = model.folder / SETTINGS
    if settings.is_file():
        data, marks = _settings(settings, model.folder)
        return data, labels if labels is not None else marks
    stem = Path(model.path).stem
    found = next((path for suffix in SUFFIXES if (path := model.folder / f"{stem}{suffix}").is_file()), None)
    return found, labels


def _settings(path: Path, folder: Path) -> tuple[Path, str | None]:
    """The data file that `onnxrich.toml` names, and the labels: a key of it, or a file."""
    with open_regular(path, DataError, "a readable file") as file:
        content = file.read()
    try:
        named = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise _unusable(str(error) or "no TOML") from error
    data, labels = named.get("data"), named.get("labels")
    if not isinstance(data, str) or not isinstance(labels, str | None):
        raise _unusable(f"data = {data!r}, labels = {labels!r}")
    if labels is not None and Path(labels).suffix.lower() in SUFFIXES:
        labels = os.fspath(_inside(folder, labels))
    return _inside(folder, data), labels


def _unusable(what: str) -> DataError:
    return DataError(
        f"{SETTINGS} beside the model: {what}",
        '`data = "FILE"`, and `labels = "KEY"` or `labels = "FILE"`',
        "Mend it, or pass --data.",
    )


def _inside(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise _unusable(f"{name!r} is no path") from error
    if not path.is_relative_to(folder):
        raise DataError(f"{SETTINGS} names {name!r}", "a file inside the model's folder", "Pass it by --data.")
    return folder / name
