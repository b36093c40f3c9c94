"""JSON: one object per line, or one array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import IO, Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import ArrowData, check_names, check_text_size, pyarrow, refuse_damaged_by_pyarrow
from onnxrich.data.table import Table

# Objects and lists inside each other. pyarrow takes time with the cube of their number, and crashes beyond thousands.
_MAX_DEPTH = 128
_STRING = rb'"(?:[^"\\]|\\.)*"'
# Cells that a table of objects with different names may have beyond ten times their values.
_MAX_EMPTY = 2**22


def open_json(context: OpenContext) -> Table:
    """Open JSON: one object per line, or one array of objects.

    Raises:
        DataError: when it is missing, damaged, or too large for memory.
    """
    path = context.path
    with refuse_damaged_by_pyarrow(path, "JSON file"), path.open("a readable JSON file") as file:
        check_text_size(path, file)
        first = file.read(64).lstrip(b"\xef\xbb\xbf").lstrip()[:1]
        file.seek(0)
        if first == b"[":
            content = file.read()
            _check_depth([content])
            table = _table_of_objects(json.loads(content, object_pairs_hook=_unique))
        else:
            _check_lines(file)
            table = import_optional("pyarrow.json", "parquet", "a JSON file").read_json(file)
        check_names(path, (entry.name for entry in table.schema))
    return ArrowData.from_table(path.name, table, name_row=lambda row: f"object {row + 1}").to_table(context)


def _check_lines(file: IO[bytes]) -> None:
    """Check that each line begins as an object does: pyarrow crashes on `null`.

    Raises:
        ValueError: when one does not.
    """
    file.seek(0)
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)
    for number, line in enumerate(file, start=1):
        if line.strip()[:1] not in (b"{", b""):
            raise ValueError(f"line {number} is no object")
        _check_depth([line])
    file.seek(0)


def _check_depth(texts: Iterable[bytes]) -> None:
    """Check how deep objects and lists lie inside each other.

    Raises:
        ValueError: when they lie too deep.
    """
    for text in texts:
        if text.count(b"[") + text.count(b"{") <= _MAX_DEPTH:
            continue
        # Strings are taken out where their brackets may count, which is slower.
        if _depth(text) > _MAX_DEPTH and _depth(re.sub(_STRING, b"", text)) > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} lists inside each other")


def _depth(text: bytes) -> int:
    characters = np.frombuffer(text, np.uint8)
    opening = (characters == ord("[")) | (characters == ord("{"))
    closing = (characters == ord("]")) | (characters == ord("}"))
    return int(np.cumsum(opening.astype(np.int8) - closing, dtype=np.int32).max())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("an object holds a name twice")
    return entries


def _table_of_objects(objects: list[Any]) -> Any:
    """Return an Arrow table with a row for each object, and a column for each key of any of them."""
    if not all(isinstance(entry, dict) for entry in objects):
        raise ValueError("an array of something else than objects")
    names = dict.fromkeys(name for entry in objects for name in entry)
    if len(names) * len(objects) > _MAX_EMPTY + 10 * sum(map(len, objects)):
        raise ValueError("objects with different names")
    return pyarrow().table({name: [entry.get(name) for entry in objects] for name in names})
