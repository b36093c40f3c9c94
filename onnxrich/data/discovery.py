"""What lies beside a model is used when nothing else is said: `onnxrich.toml`, or a data file of the model's name."""

from __future__ import annotations

import filecmp
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.data.formats.registry import ending_of, is_data_file, kind_and_path
from onnxrich.errors import DataError
from onnxrich.model.file import Model

SETTINGS = "onnxrich.toml"
KNOWN = ("data", "labels", "preprocessing")
# Data files that are looked for, in this order.
SUFFIXES = (".npz", ".npy")


def settings(model: Model) -> Mapping[str, Any]:
    """What `onnxrich.toml` beside the model says; empty where there is none.

    Raises:
        DataError: when it can't be read, or says something else than what is known.
    """
    if model.folder is None or not (model.folder / SETTINGS).is_file():
        return {}
    with open_regular(model.folder / SETTINGS, DataError, "a readable file") as file:
        content = file.read()
    try:
        said = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{SETTINGS} beside the model: {error or 'no TOML'}", "TOML", "Mend or remove it.") from error
    unknown = [f"[{name}]" if isinstance(value, dict) else name for name, value in said.items() if name not in KNOWN]
    if unknown:
        raise DataError(
            f"{SETTINGS} beside the model says {', '.join(unknown)}",
            "data, labels and the table [preprocessing] alone",
            "Mend or remove what is not known.",
        )
    return said


def find_data(model: Model, labels: Any, others: Sequence[Model] = ()) -> tuple[str | None, Any]:
    """The data that lie beside a model, None without, and their labels; those that were asked for come first.

    Args:
        model: the model.
        labels: those that were asked for.
        others: further models that are to take the same rows: the data may lie beside any of them.

    Raises:
        DataError: when `onnxrich.toml` names none, or something outside the model's folder, or other data lie beside
            another model.
    """
    found = [(each.path, *_beside(each, labels)) for each in (model, *others)]
    told = [(path, data, marks) for path, data, marks in found if data is not None]
    for path, data, marks in told[1:]:
        first, taken, own = told[0]
        if not (_same(data, taken) and _same(marks, own)):
            raise DataError(
                f"{data} beside {path}, and {taken} beside {first}",
                "the same data for all models",
                "Pass them by --data.",
            )
    return told[0][1:] if told else (None, labels)


def _same(name: Any, other: Any) -> bool:
    """Whether two names mean the same: they are one, or those of files of one kind and of the same bytes."""
    if not (isinstance(name, str) and isinstance(other, str)):
        return name is other
    (kind, place), (other_kind, other_place) = map(kind_and_path, (name, other))
    if name == other or (kind or ending_of(name)) != (other_kind or ending_of(other)):
        return name == other
    if not (place.is_file() and other_place.is_file()):
        return False
    filecmp.clear_cache()  # which goes by size and time, and not by content
    try:
        return filecmp.cmp(place.url, other_place.url, shallow=False)
    except OSError as error:
        raise DataError(
            f"data beside the models can't be compared: {error.strerror}: {error.filename}",
            "files that can be read",
            "Pass the data by --data.",
        ) from error


def _beside(model: Model, labels: Any) -> tuple[str | None, Any]:
    if model.folder is None:
        return None, labels
    if (model.folder / SETTINGS).is_file():
        named = settings(model)
        if tuple(named) != ("preprocessing",):
            data, marks = _named(named, model.folder)
            return data, labels if labels is not None else marks
    stem = Path(model.path).stem
    found = next((path for suffix in SUFFIXES if (path := model.folder / f"{stem}{suffix}").is_file()), None)
    return None if found is None else os.fspath(found), labels


def _named(named: Mapping[str, Any], folder: Path) -> tuple[str, str | None]:
    data, labels = named.get("data"), named.get("labels")
    if not isinstance(data, str) or not isinstance(labels, str | None):
        raise _unusable(f"data = {data!r}, labels = {labels!r}")
    if labels is not None and is_data_file(labels):
        labels = _inside(folder, labels)
    return _inside(folder, data), labels


def _inside(folder: Path, name: str) -> str:
    kind, place = kind_and_path(name)
    try:
        path = (folder / place.url).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise _unusable(f"{name!r} is no path") from error
    if not path.is_relative_to(folder):
        raise DataError(f"{SETTINGS} names {name!r}", "a file inside the model's folder", "Pass it by --data.")
    found = os.fspath(folder / place.url)
    return f"{kind}:{found}" if kind else found


def _unusable(what: str) -> DataError:
    return DataError(
        f"{SETTINGS} beside the model: {what}",
        '`data = "FILE"`, and `labels = "KEY"` or `labels = "FILE"`',
        "Mend it, or pass --data.",
    )
