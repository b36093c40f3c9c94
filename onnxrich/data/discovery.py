"""Data and settings beside a model: `onnxrich.toml`, or a data file with the model's name."""

from __future__ import annotations

import filecmp
import os
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxrich._utils.inside import find_root
from onnxrich._utils.parsing import parse_toml
from onnxrich.data.formats.registry import NamedData, format_of, is_data_file, split_format
from onnxrich.data.paths import DataPath, first_line
from onnxrich.errors import DataError
from onnxrich.model.file import Model

SETTINGS = "onnxrich.toml"
_KEYS = ("data", "labels", "preprocessing")
# Endings of data files with the model's name, in the order in which they are tried.
_ENDINGS = (".npz", ".npy")
# A file of a few lines. Python's reader takes a second for a key of this length, in quadratic time.
LARGEST_SETTINGS = 2**14


def _beside(model: Model, name: str) -> DataPath | None:
    """Return the path of a regular file beside a model, None where there is none."""
    path = None if model.home is None else DataPath(os.fspath(model.home)).child(name)
    return path if path is not None and path.is_file() else None


def read_settings(model: Model) -> Mapping[str, Any]:
    """Read `onnxrich.toml` beside the model; empty where there is none.

    Raises:
        DataError: when it can't be read, or has an unknown key.
    """
    path = _beside(model, SETTINGS)
    if path is None:
        return {}
    content = path.read("a readable file", LARGEST_SETTINGS)
    try:
        settings = parse_toml(content)
    except ValueError as error:
        raise DataError(f"{SETTINGS} beside the model: {first_line(error)}", "TOML", "Fix or remove it.") from error
    unknown = [
        f"[{name}]" if isinstance(value, dict) else name for name, value in settings.items() if name not in _KEYS
    ]
    if unknown:
        listed = ", ".join(name[:50] for name in unknown[:3]) + (", …" if len(unknown) > 3 else "")
        raise DataError(
            f"{SETTINGS} beside the model has unknown keys: {listed}",
            "data, labels and the table [preprocessing] alone",
            "Fix or remove them.",
        )
    return settings


def find_data(model: Model, labels: Any, others: Sequence[Model] = ()) -> tuple[NamedData | None, Any]:
    """Find the data beside a model, None without any, and their labels; labels that the user passed come first.

    Args:
        model: the model.
        labels: labels that the user passed, or None.
        others: further models that take the same rows: the data may lie beside any of them.

    Raises:
        DataError: when `onnxrich.toml` names no data, or a file outside the model's folder, or different data lie
            beside another model.
    """
    beside = [(entry.path, *_find_beside(entry, labels)) for entry in (model, *others)]
    candidates = [(path, data, found_labels) for path, data, found_labels in beside if data is not None]
    if not candidates:
        return None, labels
    first_path, first_data, first_labels = candidates[0]
    for path, data, found_labels in candidates[1:]:
        if not (_is_same_data(data, first_data) and _is_same_data(found_labels, first_labels)):
            raise DataError(
                f"{data} lies beside {path}, and {first_data} beside {first_path}",
                "the same data for all models",
                "Pass them by --data.",
            )
    return first_data, first_labels


def _is_same_data(data: Any, other: Any) -> bool:
    """Tell whether two names mean the same data: the same name, or files of one format and with the same bytes."""
    if not (isinstance(data, NamedData) and isinstance(other, NamedData)):
        return data is other or (isinstance(data, str) and data == other)
    if data == other or (data.format or format_of(data.path.url)) != (other.format or format_of(other.path.url)):
        return data == other
    if not (data.path.is_file() and other.path.is_file()):
        return False
    filecmp.clear_cache()  # its entries depend on size and time, and not on content
    first, second = (entry.path.opened_by_path("readable data") for entry in (data, other))
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError as error:
        raise DataError(
            f"data beside the models can't be compared: {error.strerror}: {error.filename}",
            "files that can be read",
            "Pass the data by --data.",
        ) from error


def _find_beside(model: Model, labels: Any) -> tuple[NamedData | None, Any]:
    if model.home is not None and _beside(model, SETTINGS) is not None:
        settings = read_settings(model)
        if tuple(settings) != ("preprocessing",):
            data, found_labels = _data_of_settings(settings, model.home)
            return data, labels if labels is not None else found_labels
    stem = Path(model.path).stem
    path = next((path for ending in _ENDINGS if (path := _beside(model, f"{stem}{ending}")) is not None), None)
    return None if path is None else NamedData(path), labels


def _data_of_settings(settings: Mapping[str, Any], folder: Path) -> tuple[NamedData, NamedData | str | None]:
    data, labels = settings.get("data"), settings.get("labels")
    if not isinstance(data, str) or not isinstance(labels, str | None):
        raise _unusable(f"data = {reprlib.repr(data)}, labels = {reprlib.repr(labels)}")
    found = labels if labels is None or not is_data_file(labels) else _find_inside(folder, labels)
    return _find_inside(folder, data), found


def _find_inside(folder: Path, name: str) -> NamedData:
    """Return the data that a name means in the model's folder."""
    prefix, data_path = split_format(name)
    try:
        target = Path(os.path.realpath(folder / data_path.url))
    except (ValueError, OSError) as error:
        raise _unusable(f"{name!r} is no path") from error
    if data_path.remote or Path(data_path.url).is_absolute() or find_root(folder, target) is None:
        raise DataError(f"{SETTINGS} names {name!r}", "a file inside the model's folder", "Pass it by --data.")
    return NamedData(DataPath(os.fspath(folder)).child(data_path.url), prefix)


def _unusable(reason: str) -> DataError:
    return DataError(
        f"{SETTINGS} beside the model: {reason}",
        '`data = "FILE"`, and `labels = "KEY"` or `labels = "FILE"`',
        "Fix it, or pass --data.",
    )
