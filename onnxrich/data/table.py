"""What a kind of data gives before it is fitted to a model: named fields, read in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import DataError

AnyArray = NDArray[Any]

# Which rows, in the order in which they are to come: a range of consecutive ones, or row numbers.
Rows = range | NDArray[np.int64]

# Rows that are read at once when a field is only scanned.
SCAN = 65_536
# The same where they are kept.
UNPACKED_ROWS = 1024
# Bytes that are unpacked into memory so that rows can be drawn at random from what is read in order alone.
MOST_UNPACKED = 2**32


@dataclass(frozen=True)
class Field:
    """One named field.

    Attributes:
        name: its name in the data.
        dtype: NumPy dtype.
        shape: (n, …), None where a size differs from row to row; () for what has no rows.
        image: whether rows are images, H × W or H × W × channels.
        classes: names of the classes that its integers number.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    image: bool = False
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of several fields.

    Attributes:
        arrays: by name of the field.
        rows: number of rows that were asked for.
        kept: booleans of shape (rows,): which of them are there. None: all.
    """

    arrays: Mapping[str, AnyArray]
    rows: int
    kept: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Fields of the same rows.

    Attributes:
        name: as a person would name the data.
        fields: by name.
        read: gives blocks of `size` rows of some fields, the last one shorter: `read(names, rows, size)`.
        random: whether `read` takes row numbers in any order; else consecutive ranges alone.
    """

    name: str
    fields: Mapping[str, Field]
    read: Callable[[Sequence[str], Rows, int], Iterator[Block]]
    random: bool


@dataclass(frozen=True, eq=False)
class Column:
    """One array, read in blocks of rows.

    Attributes:
        field: what it is.
        blocks: gives consecutive blocks: `blocks(rows, size)`.
        random: whether it takes row numbers in any order.
    """

    field: Field
    blocks: Callable[[Rows, int], Iterator[AnyArray]]
    random: bool

    @classmethod
    def of(cls, field: Field, array: Any) -> Column:
        """A column over what is sliced and indexed as an array is: in memory, mapped into it, or in chunks on disk."""

        def blocks(rows: Rows, size: int) -> Iterator[AnyArray]:
            for part in cut(rows, size):
                yield array[part.start : part.stop] if isinstance(part, range) else array[part]

        def whole(rows: Rows, size: int) -> Iterator[AnyArray]:
            yield array

        return cls(field, blocks if field.shape else whole, random=True)


def of_array(name: str, array: AnyArray) -> Column:
    """The column of an array in memory."""
    return Column.of(Field(name, array.dtype, array.shape), array)


def of_columns(name: str, columns: Mapping[str, Column]) -> Table:
    """A table of columns that are read each by itself."""

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        streams = {key: columns[key].blocks(rows, size) for key in names}
        for part in cut(rows, size):
            yield Block({key: next(stream) for key, stream in streams.items()}, len(part))

    fields = {key: column.field for key, column in columns.items()}
    return Table(name, fields, read, all(column.random for column in columns.values()))


def cut(rows: Rows, size: int) -> Iterator[Rows]:
    """The rows in parts of a size; the last may be shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def whole(table: Table, name: str, most: int | None = None) -> AnyArray:
    """All rows of one field, or the first ones."""
    field = table.fields[name]
    rows = (field.shape[0] or 0) if field.shape else 1
    rows = rows if most is None else min(most, rows)
    blocks = [block.arrays[name] for block in table.read([name], range(rows), max(rows, 1))]
    return blocks[0] if blocks else np.empty([size or 0 for size in field.shape], field.dtype)


def unpacked(table: Table, names: Sequence[str]) -> Table:
    """The table with some fields in memory, so that rows can be read in any order.

    Raises:
        DataError: when they are larger than memory is trusted with, or some can't be read.
    """
    if table.random:
        return table
    n = next((field.shape[0] or 0 for name in names if (field := table.fields[name]).shape), 0)
    parts: list[Block] = []
    size = 0
    for block in table.read(names, range(n), UNPACKED_ROWS):
        parts.append(block)
        size += sum(array.nbytes for array in block.arrays.values())
        if size > MOST_UNPACKED:
            raise DataError(
                f"{table.name}: more than {MOST_UNPACKED:,} bytes that can be read in order alone",
                "less, to draw rows from at random",
                "Save it uncompressed (numpy.savez), or leave out --shuffle and --balanced.",
            )
    return _joined(table, names, parts)


def _joined(table: Table, names: Sequence[str], parts: Sequence[Block]) -> Table:
    """Blocks as a table in memory, which leaves the same rows out."""
    n = sum(part.rows for part in parts)
    kept = np.concatenate([np.ones(part.rows, bool) if part.kept is None else part.kept for part in parts])
    place = np.cumsum(kept) - 1
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in names}

    def read(asked: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        for part in cut(rows, size):
            index = np.asarray(part)
            there = kept[index]
            found = {name: arrays[name][place[index[there]]] for name in asked}
            yield Block(found, len(part), None if there.all() else there)

    fields = {name: replace(table.fields[name], shape=(n, *table.fields[name].shape[1:])) for name in names}
    return Table(table.name, fields, read, random=True)
