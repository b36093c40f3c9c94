"""Files that a stranger may have written: read as data, and refused where they are pickles."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular, read_limited
from onnxrich.errors import AdapterError

# The most bytes of a file that is read whole, such as a program of PyTorch with its weights.
LARGEST_FILE = 2**35

PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")


def read_bytes(path: Path, needed: str, limit: int = LARGEST_FILE) -> bytes:
    """Read a regular file.

    Args:
        path: the file.
        needed: what the file should be, for the message.
        limit: bytes that it may have at most.

    Raises:
        AdapterError: when the file is missing, unreadable, no regular file, or larger.
    """
    with open_regular(path, AdapterError, needed) as file:
        return read_limited(file, limit, AdapterError, str(path))


def walk_entries(document: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a JSON document, at any depth, with their values."""
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from value.items()
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def refuse_pickle(path: Path) -> None:
    """Check that a file is no pickle, by its name and by its content; folders pass.

    Raises:
        AdapterError: when it is a pickle, or can't be read.
    """
    if path.is_dir():
        return
    with open_regular(path, AdapterError, "a model's file") as file:
        start = file.read(2)
    if path.suffix.lower() in PICKLE_SUFFIXES or start[:1] == b"\x80" or (start == b"PK" and _contains_pickle(path)):
        raise AdapterError(
            f"{path} is a pickle, and loading a pickle can run any code that its author put into it",
            "a format that holds only data, or a function that builds the model",
            "Write a function build() that builds the model and loads weights with torch.load(…, weights_only=True), "
            "and pass package.module:build. Or save the model with torch.export.save, as .keras or as a SavedModel.",
        )


def _contains_pickle(path: Path) -> bool:
    """Whether a zip archive is what `torch.save` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") or name == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
