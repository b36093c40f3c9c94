"""Parquet: tables of all types, written in many ways, and damaged, against pyarrow's values of Python."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz.mutations import mutate_bytes
from fuzz.rows import check_rows
from fuzz.tables import rows, table

SUFFIX = ".parquet"


def seeds() -> list[bytes]:
    """Tables, of which `mutate` writes others."""
    return [_write(table(random.Random(seed)), random.Random(seed)) for seed in range(20)]


def _write(content: pa.Table, rng: random.Random) -> bytes:
    file = BytesIO()
    try:
        pq.write_table(
            content, file, row_group_size=rng.choice((1, 5, 24)), use_dictionary=rng.random() < 0.5,
            compression=rng.choice(("none", "snappy", "gzip", "zstd")), data_page_version=rng.choice(("1.0", "2.0")),
            write_page_index=rng.random() < 0.2, write_page_checksum=rng.random() < 0.2,
        )  # fmt: skip
    except (pa.ArrowException, ValueError):
        return b"PAR1PAR1"  # Parquet has no such type
    return file.getvalue()


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Write another table, or change bytes of one: mostly in its footer, which holds all sizes."""
    choice = rng.random()
    if choice < 0.35:
        return _write(table(rng), rng)
    if choice < 0.6 or len(content) < 100:
        return mutate_bytes(rng, content)
    size = int.from_bytes(content[-8:-4], "little")
    start = max(4, len(content) - 8 - size)
    footer = mutate_bytes(rng, content[start:-8])
    return content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def check(path: Path) -> None:
    """Rows and labels are those of pyarrow."""
    check_rows(path, lambda file: rows(pq.read_table(file)))
