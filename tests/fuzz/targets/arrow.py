"""Arrow's IPC format: tables of all types, as streams and as files, and damaged, against pyarrow's values of Python."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pyarrow as pa

from fuzz.mutations import mutate_bytes
from fuzz.rows import check_rows
from fuzz.tables import rows, table

SUFFIX = ".arrow"


def seeds() -> list[bytes]:
    """Tables, of which `mutate` writes others."""
    return [_write(table(random.Random(seed)), random.Random(seed)) for seed in range(20)]


def _write(content: pa.Table, rng: random.Random) -> bytes:
    file = BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=rng.choice((None, None, "lz4", "zstd")))
    writer = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))
    with writer(file, content.schema, options=options) as opened:
        opened.write_table(content, rng.choice((5, 24)))
    return file.getvalue()


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Write another table, or change bytes of one."""
    return _write(table(rng), rng) if rng.random() < 0.3 else mutate_bytes(rng, content)


def _read(path: Path) -> tuple:  # type: ignore[type-arg]
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        reader = pa.ipc.open_file(file) if start == b"ARROW1" else pa.ipc.open_stream(file)
        content = reader.read_all()
        content.validate(full=True)
        return rows(content)


def check(path: Path) -> None:
    """Rows and labels are those of pyarrow."""
    check_rows(path, _read)
