"""The idx format of MNIST, packed by gzip or not (LeCun, Cortes & Burges 1998, "The MNIST database")."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Column, Field, Rows, Table, cut, of_columns
from onnxrich.errors import DataError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 8


def open_idx(request: OpenContext) -> Table:
    """The one array of an idx file; bytes with two or three axes a row are images.

    Raises:
        DataError: when the file is missing, damaged or no idx file.
    """
    place = request.place
    packed = place.name.lower().endswith(".gz")
    with _opened(place, packed) as file:
        shape, dtype, offset = _header(file, place.name)
    field = Field("array", dtype, shape, image=dtype == np.uint8 and len(shape) in (3, 4))
    size = dtype.itemsize * math.prod(shape)
    if not packed and not place.remote and size:
        _check_size(place.name, place.path.stat().st_size - offset, size)
        column = Column.of(field, np.memmap(place.path, dtype, "r", offset, shape))
    else:
        column = Column(field, lambda rows, step: _blocks(place, packed, rows, step), random=False)
    return of_columns(place.name, {"array": column})


@contextmanager
def _opened(place: DataPath, packed: bool) -> Iterator[IO[bytes]]:
    with place.open("a readable idx file") as file:
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("IO[bytes]", unpacked)


def _blocks(place: DataPath, packed: bool, rows: Rows, step: int) -> Iterator[AnyArray]:
    assert isinstance(rows, range)  # noqa: S101 - the column is not random
    try:
        with _opened(place, packed) as file:
            shape, dtype, offset = _header(file, place.name)
            row = dtype.itemsize * math.prod(shape[1:])
            file.seek(offset + rows.start * row)
            for part in cut(rows, step):
                content = file.read(len(part) * row)
                _check_size(place.name, len(content), len(part) * row)
                if part[-1] == shape[0] - 1:
                    # Reaching the end also makes gzip compare its check sum.
                    size = row * shape[0]
                    _check_size(place.name, size + len(file.read(1)), size)
                yield np.frombuffer(content, dtype).reshape(len(part), *shape[1:])
    except (OSError, EOFError, zlib.error, OverflowError, MemoryError) as error:
        raise _damaged(place.name, type(error).__name__) from error


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    try:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 1 <= start[3] <= MOST_AXES:
            raise _damaged(name, "no header of an idx file")
        sizes = file.read(4 * start[3])
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, type(error).__name__) from error
    if len(sizes) < 4 * start[3]:
        raise _damaged(name, "cut off")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return shape, np.dtype(_TYPES[start[2]]), 4 + len(sizes)


def _check_size(name: str, have: int, need: int) -> None:
    if have != need:
        raise DataError(
            f"{name} has {have:,} bytes of data, and its header claims {need:,}", "a whole file", "Copy it again."
        )


def _damaged(name: str, why: str) -> DataError:
    return DataError(f"{name} is damaged or no idx file ({why})", "a whole idx file", "Copy it again.")
