"""JSON: an object a line, or one array of objects."""

from __future__ import annotations

import json
from typing import Any

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import _check_names, arrow, check_size, of_memory, reading, table_of
from onnxrich.data.table import Table


def open_json(request: OpenContext) -> Table:
    """JSON: an object a line, or one array of objects.

    Raises:
        DataError: when it is missing, damaged, or larger than memory is trusted with.
    """
    place = request.place
    with reading(place, "JSON"), place.open("a readable JSON file") as file:
        check_size(place, file)
        first = file.read(64).lstrip(b"\xef\xbb\xbf").lstrip()[:1]
        file.seek(0)
        if first == b"[":
            table = _of_objects(json.loads(file.read()))
        else:
            table = import_optional("pyarrow.json", "parquet", "a JSON file").read_json(file)
        _check_names(table.schema)
    return table_of(of_memory(place.name, table, line=lambda row: f"object {row + 1}"), request)


def _of_objects(rows: list[Any]) -> Any:
    """A table of objects, with a column for each key of any of them."""
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("an array of something else than objects")
    names = dict.fromkeys(name for row in rows for name in row)
    return arrow().table({name: [row.get(name) for row in rows] for name in names})
