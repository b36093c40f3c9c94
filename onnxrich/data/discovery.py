"""Data and settings beside a model: `onnxrich.toml`, or a data file with the model's name."""

from __future__ import annotations

import filecmp
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.data.formats.registry import format_of, is_data_file, split_format
from onnxrich.errors import DataError
from onnxrich.model.file import Model

SETTINGS = "onnxrich.toml"
_KEYS = ("data", "labels", "preprocessing")
# Endings of data files with the model's name, in the order in which they are tried.
_ENDINGS = (".npz", ".npy")


def read_settings(model: Model) -> Mapping[str, Any]:
    """Read `onnxrich.toml` beside the model; empty where there is none.

    Raises:
        DataError: when it can't be read, or has an unknown key.
    """
    if model.home is None or not (model.home / SETTINGS).is_file():
        return {}
    with open_regular(model.home / SETTINGS, DataError, "a readable file") as file:
        content = file.read()
    try:
        settings = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{SETTINGS} beside the model: {error or 'no TOML'}", "TOML", "Fix or remove it.") from error
    unknown = [
        f"[{name}]" if isinstance(value, dict) else name for name, value in settings.items() if name not in _KEYS
    ]
    if unknown:
        raise DataError(
            f"{SETTINGS} beside the model has unknown keys: {', '.join(unknown)}",
            "data, labels and the table [preprocessing] alone",
            "Fix or remove them.",
        )
    return settings


def find_data(model: Model, labels: Any, others: Sequence[Model] = ()) -> tuple[str | None, Any]:
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


def _is_same_data(name: Any, other: Any) -> bool:
    """Tell whether two names mean the same data: the same name, or files of one format and with the same bytes."""
    if not (isinstance(name, str) and isinstance(other, str)):
        return name is other
    (prefix, path), (other_prefix, other_path) = map(split_format, (name, other))
    if name == other or (prefix or format_of(name)) != (other_prefix or format_of(other)):
        return name == other
    if not (path.is_file() and other_path.is_file()):
        return False
    filecmp.clear_cache()  # its entries depend on size and time, and not on content
    try:
        return filecmp.cmp(path.url, other_path.url, shallow=False)
    except OSError as error:
        raise DataError(
            f"data beside the models can't be compared: {error.strerror}: {error.filename}",
            "files that can be read",
            "Pass the data by --data.",
        ) from error


def _find_beside(model: Model, labels: Any) -> tuple[str | None, Any]:
    if model.home is None:
        return None, labels
    if (model.home / SETTINGS).is_file():
        settings = read_settings(model)
        if tuple(settings) != ("preprocessing",):
            data, found_labels = _data_of_settings(settings, model.home)
            return data, labels if labels is not None else found_labels
    stem = Path(model.path).stem
    path = next((path for ending in _ENDINGS if (path := model.home / f"{stem}{ending}").is_file()), None)
    return None if path is None else os.fspath(path), labels


def _data_of_settings(settings: Mapping[str, Any], folder: Path) -> tuple[str, str | None]:
    data, labels = settings.get("data"), settings.get("labels")
    if not isinstance(data, str) or not isinstance(labels, str | None):
        raise _unusable(f"data = {data!r}, labels = {labels!r}")
    if labels is not None and is_data_file(labels):
        labels = _resolve(folder, labels)
    return _resolve(folder, data), labels


def _resolve(folder: Path, name: str) -> str:
    """Return the name of data with its path in the model's folder."""
    prefix, data_path = split_format(name)
    try:
        path = (folder / data_path.url).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise _unusable(f"{name!r} is no path") from error
    if not path.is_relative_to(folder):
        raise DataError(f"{SETTINGS} names {name!r}", "a file inside the model's folder", "Pass it by --data.")
    unresolved = os.fspath(folder / data_path.url)
    return f"{prefix}:{unresolved}" if prefix else unresolved


def _unusable(reason: str) -> DataError:
    return DataError(
        f"{SETTINGS} beside the model: {reason}",
        '`data = "FILE"`, and `labels = "KEY"` or `labels = "FILE"`',
        "Fix it, or pass --data.",
    )
