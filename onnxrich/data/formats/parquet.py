"""Parquet files, read row group by row group by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import (
    Rowset,
    _check_names,
    arrow,
    hub_classes,
    of_memory,
    parts_of,
    reading,
    recut,
    table_of,
)
from onnxrich.data.paths import DataPath
from onnxrich.data.table import MOST_UNPACKED, SCAN, Rows, Table
from onnxrich.errors import DataError


def open_parquet(request: OpenContext) -> Table:
    """A Parquet file, or a folder of such, read row group by row group.

    Raises:
        DataError: when a file is missing or damaged, or they have different columns.
    """
    place = request.place
    places = parts_of(place, ".parquet") if place.is_folder() else [place]
    counts: list[int] = []
    schema: Any = None
    for part in places:
        with reading(part, "Parquet"), part.open("a readable Parquet file") as file:
            opened = _parquet(file)
            counts.append(opened.metadata.num_rows)
            if schema is not None and not opened.schema_arrow.equals(schema):
                raise DataError(f"{part.name} has other columns than {places[0].name}", "files alike", "Pass one file.")
            schema = opened.schema_arrow
            _check_names(schema)
    starts = np.concatenate([[0], np.cumsum(counts)])

    n = int(starts[-1])

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Any]:
        if isinstance(rows, range):
            return recut(_row_groups(places, starts, names, rows, size), rows, size)
        whole = _in_memory(_row_groups(places, starts, names, range(n), SCAN), place.name)
        return of_memory(place.name, whole).read(names, rows, size)

    rowset = Rowset(
        place.name, schema, n, read, random=True, classes=hub_classes(schema), numbers={}, line=lambda row: f"row {row}"
    )
    return table_of(rowset, request)


def _in_memory(tables: Iterator[Any], name: str) -> Any:
    """Arrow tables as one, for rows in any order.

    Raises:
        DataError: when they are larger than memory is trusted with: metadata of some kilobytes can claim any size.
    """
    held, size = [], 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size > MOST_UNPACKED:
            raise DataError(
                f"{name} unpacks to more than {MOST_UNPACKED:,} bytes",
                "less, to draw rows from at random",
                "Leave out --shuffle and --balanced.",
            )
    return arrow().concat_tables(held)


def _parquet(file: Any) -> Any:
    return import_optional("pyarrow.parquet", "parquet", "a Parquet file").ParquetFile(file)


def _row_groups(places: Sequence[DataPath], starts: Any, names: Sequence[str], rows: range, size: int) -> Iterator[Any]:
    """Arrow tables of consecutive rows, from the first one that is asked for."""
    for place, start in zip(places, starts, strict=False):
        with reading(place, "Parquet"), place.open("a readable Parquet file") as file:
            opened = _parquet(file)
            for group in range(opened.num_row_groups):
                stop = start + opened.metadata.row_group(group).num_rows
                if start < rows.stop and stop > rows.start:
                    at = int(start)
                    for batch in opened.iter_batches(size, row_groups=[group], columns=list(names)):
                        table = arrow().Table.from_batches([batch])
                        skipped = max(0, rows.start - at)
                        at += batch.num_rows
                        if skipped < batch.num_rows:
                            yield table.slice(skipped)
                start = stop
