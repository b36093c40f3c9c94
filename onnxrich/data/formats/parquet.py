"""Parquet files, read by pyarrow one row group after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import (
    ArrowData,
    check_names,
    cut_and_join,
    find_parts,
    pyarrow,
    read_classes,
    refuse_damaged_by_pyarrow,
)
from onnxrich.data.paths import DataPath
from onnxrich.data.table import MAX_LOADED_BYTES, SCAN_ROWS, AnyArray, Rows, Table, check_expansion
from onnxrich.errors import DataError


@dataclass(frozen=True, eq=False)
class _Files:
    """Parquet files with the same columns.

    Attributes:
        name: name of the data.
        paths: the files, in order.
        starts: number of the first row of each file, and the number of all rows.
        schema: Arrow schema of each file.
    """

    name: str
    paths: Sequence[DataPath]
    starts: AnyArray
    schema: Any

    def read(self, names: Sequence[str], rows: Rows, size: int) -> Iterator[Any]:
        """Yield Arrow tables of `size` rows of some columns."""
        if isinstance(rows, range):
            return cut_and_join(self._read_row_groups(names, rows, size), rows, size)
        table = self._load(names)
        return ArrowData.from_table(self.name, table).read(names, rows, size)

    def _load(self, names: Sequence[str]) -> Any:
        """Load some columns into memory, for rows in any order.

        Raises:
            DataError: when they exceed `MAX_LOADED_BYTES`: metadata of some kilobytes can claim any size.
        """
        tables, size = [], 0
        for table in self._read_row_groups(names, range(int(self.starts[-1])), SCAN_ROWS):
            tables.append(table)
            size += table.nbytes
            if size > MAX_LOADED_BYTES:
                raise DataError(
                    f"{self.name} unpacks to more than {MAX_LOADED_BYTES:,} bytes",
                    "less, to draw rows from at random",
                    "Leave out --shuffle and --balanced.",
                )
        return pyarrow().concat_tables(tables)

    def _read_row_groups(self, names: Sequence[str], rows: range, size: int) -> Iterator[Any]:
        """Yield Arrow tables of consecutive rows, from the first requested one on."""
        for path, start in zip(self.paths, map(int, self.starts), strict=False):
            with refuse_damaged_by_pyarrow(path, "Parquet file"), path.open("a readable Parquet file") as file:
                opened = _open(file)
                for group in range(opened.num_row_groups):
                    stop = start + opened.metadata.row_group(group).num_rows
                    if start < rows.stop and stop > rows.start:
                        batches = opened.iter_batches(size, row_groups=[group], columns=list(names))
                        yield from _skip_rows(batches, rows.start - start)
                    start = stop


def open_parquet(context: OpenContext) -> Table:
    """Open a Parquet file, or a folder of them.

    Raises:
        DataError: when a file is missing or damaged, or files have different columns.
    """
    path = context.path
    paths = find_parts(path, ".parquet") if path.is_folder() else [path]
    counts: list[int] = []
    stored = 0
    schema: Any = None
    for part in paths:
        with refuse_damaged_by_pyarrow(part, "Parquet file"), part.open("a readable Parquet file") as file:
            opened = _open(file)
            counts.append(opened.metadata.num_rows)
            stored += file.seek(0, 2)
            if schema is not None and not opened.schema_arrow.equals(schema):
                raise DataError(
                    f"{part.name} has other columns than {paths[0].name}", "the same columns", "Pass one file."
                )
            schema = opened.schema_arrow
            check_names(part, (entry.name for entry in schema))
    files = _Files(path.name, paths, np.concatenate([[0], np.cumsum(counts)]), schema)
    table = ArrowData(path.name, schema, sum(counts), files.read, classes=read_classes(schema)).to_table(context)
    # One number may stand for any number of rows.
    unpacked = sum(
        field.dtype.itemsize * math.prod(size or 1 for size in field.shape)
        for field in table.fields.values()
        if field.dtype.kind in "biuf"
    )
    check_expansion(path.name, unpacked, lambda: stored)
    return table


def _open(file: Any) -> Any:
    return import_optional("pyarrow.parquet", "parquet", "a Parquet file").ParquetFile(file)


def _skip_rows(batches: Iterator[Any], count: int) -> Iterator[Any]:
    """Yield Arrow tables of record batches without the first `count` rows; none are skipped when it is negative."""
    for batch in batches:
        skipped = min(max(0, count), batch.num_rows)
        count -= batch.num_rows
        if skipped < batch.num_rows:
            yield pyarrow().Table.from_batches([batch]).slice(skipped)
