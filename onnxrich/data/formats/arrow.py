"""Files of Arrow's IPC format, by pyarrow; local ones are mapped into memory."""

from __future__ import annotations

from typing import Any

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import _check_names, arrow, hub_classes, of_memory, reading, table_of
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table


def open_arrow(request: OpenContext) -> Table:
    """A file of Arrow's IPC format, of either kind; a local one is mapped into memory.

    Raises:
        DataError: when it is missing or damaged.
    """
    place = request.place
    table = read_ipc(place)
    return table_of(of_memory(place.name, table, classes=hub_classes(table.schema)), request)


def read_ipc(place: DataPath) -> Any:
    """The Arrow table of an IPC file, which is mapped, not read, where it is local and not compressed."""
    pa = arrow()
    with reading(place, "Arrow"):
        with place.open("a readable Arrow file") as file:
            start = file.read(6)
            remote = file.read() if place.remote else b""
        buffer = pa.BufferReader(start + remote) if place.remote else pa.memory_map(place.url)
        opened = pa.ipc.open_file(buffer) if start == b"ARROW1" else pa.ipc.open_stream(buffer)
        table = opened.read_all()
        table.validate(full=True)
        _check_names(table.schema)
        return table
