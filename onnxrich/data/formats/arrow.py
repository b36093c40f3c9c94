"""Files of Arrow's IPC format, read by pyarrow; local ones are mapped into memory."""

from __future__ import annotations

from typing import Any

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import ArrowData, check_names, pyarrow, read_classes, refuse_damaged_by_pyarrow
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table


def open_arrow(context: OpenContext) -> Table:
    """Open a file of Arrow's IPC format, a stream or a random-access file.

    Raises:
        DataError: when it is missing or damaged.
    """
    table = read_ipc(context.path)
    return ArrowData.from_table(context.path.name, table, classes=read_classes(table.schema)).to_table(context)


def read_ipc(path: DataPath) -> Any:
    """Read the Arrow table of an IPC file; it is mapped into memory where the file is local and not compressed."""
    pa = pyarrow()
    with refuse_damaged_by_pyarrow(path, "Arrow file"):
        with path.open("a readable Arrow file") as file:
            start = file.read(6)
            remote = file.read() if path.remote else b""
        buffer = (
            pa.BufferReader(start + remote)
            if path.remote
            else pa.memory_map(path.opened_by_path("a readable Arrow file"))
        )
        reader = pa.ipc.open_file(buffer) if start == b"ARROW1" else pa.ipc.open_stream(buffer)
        table = reader.read_all()
        table.validate(full=True)
        check_names(path, (entry.name for entry in table.schema))
        return table
