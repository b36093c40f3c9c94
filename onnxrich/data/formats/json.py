"""JSON: one object per line, or one array of objects."""

from __future__ import annotations

import json
from typing import Any

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import ArrowData, check_names, check_text_size, pyarrow, refuse_damaged_by_pyarrow
from onnxrich.data.table import Table


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
            table = _table_of_objects(json.loads(file.read()))
        else:
            table = import_optional("pyarrow.json", "parquet", "a JSON file").read_json(file)
        check_names(table.schema)
    return ArrowData.from_table(path.name, table, name_row=lambda row: f"object {row + 1}").to_table(context)


def _table_of_objects(objects: list[Any]) -> Any:
    """Return an Arrow table with a row for each object, and a column for each key of any of them."""
    if not all(isinstance(entry, dict) for entry in objects):
        raise ValueError("an array of something else than objects")
    names = dict.fromkeys(name for entry in objects for name in entry)
    return pyarrow().table({name: [entry.get(name) for entry in objects] for name in names})
