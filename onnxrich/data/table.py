"""Tables: named fields of the same rows, read in blocks, as a format yields them before a model is considered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.formatting import name_list
from onnxrich.errors import DataError, Notice

AnyArray = NDArray[Any]

# Rows to read, in their order: a range of consecutive ones, or row numbers.
Rows = range | NDArray[np.int64]

# Rows in a block of a field that is only scanned.
SCAN_ROWS = 65_536
# Rows in a block of fields that are loaded into memory.
_LOAD_ROWS = 1024
# Bytes that are loaded at most, so that rows of sequential data can be drawn at random.
MAX_LOADED_BYTES = 2**32
# How many times its own size a file may unpack to, where that is more than so many bytes. Deflate reaches 1,032 times,
# with zeros alone; files of numbers that differ stay below 20.
_MOST_EXPANSION, _SMALL_BYTES = 1000, 2**28


@dataclass(frozen=True)
class Field:
    """One named field.

    Attributes:
        name: its name in the data.
        dtype: NumPy dtype.
        shape: (n, …), None for a size that differs from row to row; () for a scalar without rows.
        image: whether rows are images, H × W or H × W × channels.
        classes: names of the classes that its integers index.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    image: bool = False
    classes: tuple[str, ...] | None = None

    @classmethod
    def of_images(cls, name: str, n: int) -> Field:
        """Return a field of n image files, whose sizes are not known before they are decoded."""
        return cls(name, np.dtype(np.uint8), (n, None, None, None), image=True)


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of several fields.

    Attributes:
        arrays: the rows that could be read, by name of the field.
        rows: number of rows that were requested.
        readable: booleans of shape (rows,), False for rows that could not be read. None: all could be.
    """

    arrays: Mapping[str, AnyArray]
    rows: int
    readable: NDArray[np.bool_] | None = None

    def mask(self) -> NDArray[np.bool_]:
        """Return `readable`, all True where it is None."""
        return np.ones(self.rows, dtype=bool) if self.readable is None else self.readable


@dataclass(frozen=True, eq=False)
class Column:
    """One array, read in blocks of rows.

    Attributes:
        field: its name, type and shape.
        blocks: `blocks(rows, size)` yields consecutive blocks.
        random: whether `blocks` accepts row numbers in any order; else consecutive ranges alone.
    """

    field: Field
    blocks: Callable[[Rows, int], Iterator[AnyArray]]
    random: bool

    @classmethod
    def from_array(cls, name: str, array: AnyArray, **attributes: Any) -> Column:
        """Return the column of an array in memory, or mapped into it.

        Args:
            name: name of the field.
            array: the array.
            attributes: further attributes of the field.
        """
        field = Field(name, array.dtype, array.shape, **attributes)

        def read(rows: Rows, size: int) -> Iterator[AnyArray]:
            for part in split_rows(rows, size):
                yield array[part.start : part.stop] if isinstance(part, range) else array[part]

        def read_scalar(rows: Rows, size: int) -> Iterator[AnyArray]:
            yield array

        return cls(field, read if field.shape else read_scalar, random=True)


@dataclass(frozen=True, eq=False)
class Table:
    """Fields of the same rows.

    Attributes:
        name: name of the data for people.
        fields: by name.
        read: `read(names, rows, size)` yields blocks of `size` rows of some fields, the last one shorter.
        random: whether `read` accepts row numbers in any order; else consecutive ranges alone.
    """

    name: str
    fields: Mapping[str, Field]
    read: Callable[[Sequence[str], Rows, int], Iterator[Block]]
    random: bool

    @classmethod
    def from_columns(cls, name: str, columns: Mapping[str, Column]) -> Table:
        """Return the table of columns that are read independently of each other."""

        def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
            streams = {key: columns[key].blocks(rows, size) for key in names}
            for part in split_rows(rows, size):
                yield Block({key: next(stream) for key, stream in streams.items()}, len(part))

        fields = {key: column.field for key, column in columns.items()}
        return cls(name, fields, read, all(column.random for column in columns.values()))

    def read_field(self, name: str, limit: int | None = None) -> AnyArray:
        """Read all rows of one field, or the first `limit` ones, as one array."""
        field = self.fields[name]
        rows = (field.shape[0] or 0) if field.shape else 1
        rows = rows if limit is None else min(limit, rows)
        blocks = [block.arrays[name] for block in self.read([name], range(rows), max(rows, 1))]
        return blocks[0] if blocks else np.empty([size or 0 for size in field.shape], field.dtype)

    def with_rows_first(self, axes: Mapping[str, int]) -> Table:
        """Return a table in which the rows of some fields run along the first axis, not along the given one.

        These fields are loaded as a whole; arrays that are mapped into memory stay there.
        """
        moved = {name: np.moveaxis(self.read_field(name), axis, 0) for name, axis in axes.items()}
        if not moved:
            return self

        def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
            others = [name for name in names if name not in moved]
            parts = list(split_rows(rows, size))
            blocks = self.read(others, rows, size) if others else (Block({}, len(part)) for part in parts)
            for part, block in zip(parts, blocks, strict=True):
                index = np.asarray(part)[block.mask()]
                arrays = {name: moved[name][index] for name in names if name in moved}
                yield Block({**block.arrays, **arrays}, block.rows, block.readable)

        fields = {name: replace(self.fields[name], shape=array.shape) for name, array in moved.items()}
        return Table(self.name, {**self.fields, **fields}, read, self.random)

    def with_random_access(self, names: Sequence[str]) -> Table:
        """Return a table that reads some fields in any order of rows; sequential data are loaded into memory.

        Raises:
            DataError: when they exceed `MAX_LOADED_BYTES`, or can't be read.
        """
        if self.random:
            return self
        n = next((field.shape[0] or 0 for name in names if (field := self.fields[name]).shape), 0)
        blocks: list[Block] = []
        size = 0
        for block in self.read(names, range(n), _LOAD_ROWS):
            blocks.append(block)
            size += sum(array.nbytes for array in block.arrays.values())
            if size > MAX_LOADED_BYTES:
                raise DataError(
                    f"{self.name} has more than {MAX_LOADED_BYTES:,} bytes that can be read in order alone",
                    "less, to draw rows from at random",
                    "Save it uncompressed (numpy.savez), or leave out --shuffle and --balanced.",
                )
        return _join_blocks(self, names, blocks)


def _join_blocks(table: Table, names: Sequence[str], blocks: Sequence[Block]) -> Table:
    """Join blocks into a table in memory, which has the same unreadable rows."""
    n = sum(block.rows for block in blocks)
    readable = np.concatenate([block.mask() for block in blocks])
    position = np.cumsum(readable) - 1
    arrays = {name: np.concatenate([block.arrays[name] for block in blocks]) for name in names}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        for part in split_rows(rows, size):
            index = np.asarray(part)
            mask = readable[index]
            yield Block(
                {name: arrays[name][position[index[mask]]] for name in names}, len(part), None if mask.all() else mask
            )

    fields = {name: replace(table.fields[name], shape=(n, *table.fields[name].shape[1:])) for name in names}
    return Table(table.name, fields, read, random=True)


def split_rows(rows: Rows, size: int) -> Iterator[Rows]:
    """Split rows into parts of `size` rows, the last one shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def read_ascending(array: Any, rows: Rows, index: Callable[[AnyArray], Any]) -> AnyArray:
    """Read rows of an array on disk, whose library takes row numbers only in ascending order and without repetition.

    Args:
        array: the array; it takes slices.
        rows: rows to read, in any order.
        index: reads ascending row numbers.
    """
    if not array.shape:
        return np.asarray(array[()])
    if isinstance(rows, range):
        return np.asarray(array[rows.start : rows.stop])
    ascending, inverse = np.unique(rows, return_inverse=True)
    return np.asarray(index(ascending))[inverse]


def check_expansion(name: str, unpacked: int, stored: Callable[[], int]) -> None:
    """Check that packed data don't unpack to far more than they can hold.

    Args:
        name: name of the data.
        unpacked: bytes that they claim to unpack to.
        stored: returns the bytes that they take, which is asked for where they claim much.

    Raises:
        DataError: when they claim a thousand times as much, and much in all.
    """
    if unpacked > _SMALL_BYTES and unpacked > _MOST_EXPANSION * (size := stored()):
        raise DataError(
            f"{name} has {size:,} bytes, and claims to unpack to {unpacked:,}",
            f"at most {_MOST_EXPANSION:,} times its size",
            "Check where it comes from: it would fill the memory, or take for ever.",
        )


def unwritten_notice(name: str, fields: Sequence[str]) -> Notice:
    """Say that parts of some fields are not in a file, and read as a value that stands for them."""
    message = f"Parts of {name_list(fields)} are not in {name}, and are read as the value that fills them, mostly 0."
    return Notice("parts_filled_in", message)


def to_array(name: str, values: Any) -> AnyArray:
    """Convert a value that the user passed to an array.

    Raises:
        DataError: when it is none, such as lists of different lengths.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no array"
        raise DataError(
            f"{name!r} of type {type(values).__name__} can't be converted: {reason}",
            "an array of numbers",
            "Convert it with numpy.asarray, rows of equal shape.",
        ) from error
