"""The idx format of MNIST, packed by gzip or not (LeCun, Cortes & Burges 1998, "The MNIST database")."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath, refuse_damaged
from onnxrich.data.table import AnyArray, Column, Field, Rows, Table, split_rows
from onnxrich.errors import DataError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_AXES = 8
# What gzip and NumPy raise for damaged files.
_DAMAGED = (OSError, EOFError, zlib.error, OverflowError, MemoryError)


@dataclass(frozen=True)
class _Header:
    """Shape and type of the array, and the position of its first byte."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


def open_idx(context: OpenContext) -> Table:
    """Open the one array of an idx file; bytes with two or three axes a row are images.

    Raises:
        DataError: when the file is missing, damaged or no idx file.
    """
    path = context.path
    packed = path.name.lower().endswith(".gz")
    with refuse_damaged(path.name, "idx file", _DAMAGED), _open(path, packed=packed) as file:
        header = _read_header(file, path.name)
        shape, dtype, offset = header.shape, header.dtype, header.offset
        image = dtype == np.uint8 and len(shape) in (3, 4)
        size = dtype.itemsize * math.prod(shape)
        if not packed and not path.remote and size:
            _check_size(path.name, file.seek(0, io.SEEK_END) - offset, size)
            column = Column.from_array("array", np.memmap(file, dtype, "r", offset, shape), image=image)
        else:
            field = Field("array", dtype, shape, image=image)
            column = Column(field, lambda rows, step: _read_blocks(path, packed, rows, step), random=False)
    return Table.from_columns(path.name, {"array": column})


@contextmanager
def _open(path: DataPath, *, packed: bool) -> Iterator[IO[bytes]]:
    with path.open("a readable idx file") as file:
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("IO[bytes]", unpacked)


def _read_blocks(path: DataPath, packed: bool, rows: Rows, step: int) -> Iterator[AnyArray]:
    assert isinstance(rows, range)  # noqa: S101 - the column is not random
    with refuse_damaged(path.name, "idx file", _DAMAGED), _open(path, packed=packed) as file:
        header = _read_header(file, path.name)
        row, shape = header.row_bytes, header.shape
        file.seek(header.offset + rows.start * row)
        for part in split_rows(rows, step):
            content = file.read(len(part) * row)
            _check_size(path.name, len(content), len(part) * row)
            if part[-1] == shape[0] - 1:
                # At the end gzip also compares its checksum.
                size = row * shape[0]
                _check_size(path.name, size + len(file.read(1)), size)
            yield np.frombuffer(content, header.dtype).reshape(len(part), *shape[1:])


def _read_header(file: IO[bytes], name: str) -> _Header:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 1 <= start[3] <= MAX_AXES:
        raise _no_idx(name, "no header of an idx file")
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise _no_idx(name, "cut off")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return _Header(shape, np.dtype(_TYPES[start[2]]), 4 + len(sizes))


def _no_idx(name: str, reason: str) -> DataError:
    return DataError(f"{name} is damaged or no idx file ({reason})", "a whole idx file", "Copy it again.")


def _check_size(name: str, size: int, claimed: int) -> None:
    if size != claimed:
        raise DataError(
            f"{name} has {size:,} bytes of data, and its header claims {claimed:,}", "a whole file", "Copy it again."
        )
