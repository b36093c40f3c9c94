"""NumPy files, read without unpickling: `.npy` is mapped into memory, `.npz` is read as a stream."""

from __future__ import annotations

import io
import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from typing import IO, Any

import numpy as np

from onnxrich.data.context import ImageSpec, OpenContext
from onnxrich.data.paths import DataPath, refuse_damaged
from onnxrich.data.source import SkippedItems
from onnxrich.data.table import AnyArray, Column, Field, Rows, Table, check_expansion, split_rows
from onnxrich.errors import DataError

# What the readers of archives and arrays raise for damaged ones.
_DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
# What NumPy raises for damaged headers, which are Python literals.
_NO_HEADER = (ValueError, KeyError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError)


# The most axes of an array that NumPy 1 and 2 can both make, and the most bytes of an array.
_MOST_AXES, _MOST_BYTES = 32, 2**63 - 1


@dataclass(frozen=True)
class _Header:
    """Shape, memory order and type of an array in a file, and the position of its first byte."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return self.dtype.itemsize * math.prod(self.shape)


def open_npy(context: OpenContext) -> Table:
    """Open the one array of a `.npy` file, mapped into memory: rows are read as they are used.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects.
    """
    path = context.path
    name = path.name.rpartition(".")[0]
    with path.open("a readable .npy file") as file:
        header = _read_header(file, path.name)
        _check_size(path.name, file.seek(0, io.SEEK_END) - header.offset, header)
        if 0 in header.shape:
            column = Column.from_array(name, np.empty(header.shape, header.dtype))
        elif path.remote:
            column = _column(lambda: path.open("a readable .npy file"), path.name, name, header)
        else:
            order: Any = "F" if header.fortran else "C"
            column = Column.from_array(name, np.memmap(file, header.dtype, "r", header.offset, header.shape, order))
    return Table.from_columns(path.name, {name: column})


def open_npz(context: OpenContext) -> Table:
    """Open the arrays of a `.npz` file by name; each is read and unpacked block by block, in constant memory.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects or two arrays of a name.
    """
    path = context.path
    columns: dict[str, Column] = {}
    with path.open("a readable .npz file") as file, _refuse_damaged(path.name):
        archive = zipfile.ZipFile(file)
        unpacked = sum(member.file_size for member in archive.infolist())
        check_expansion(path.name, unpacked, lambda: file.seek(0, io.SEEK_END))
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if not member.filename.endswith(".npy"):
                raise DataError(
                    f"{path.name} holds a file {member.filename!r}", "NumPy arrays only", "Save it with numpy.savez."
                )
            if name in columns:
                raise DataError(
                    f"{path.name} holds {name!r} twice", "one array of each name", "Save it again with numpy.savez."
                )
            columns[name] = _member_column(path, archive, member, name)
    return Table.from_columns(path.name, columns)


def read_arrays(
    path: str | os.PathLike[str], *, rows: int | None = None, names: Iterable[str] | None = None
) -> dict[str, AnyArray]:
    """Read the arrays of a local `.npz` file by name.

    Args:
        path: the file.
        rows: number of first rows to read, None for all.
        names: arrays to read, None for all.

    Raises:
        DataError: as `open_npz`.
    """
    table = open_npz(OpenContext(DataPath(os.fspath(path)), ImageSpec(), SkippedItems()))
    return {name: table.read_field(name, rows) for name in (table.fields if names is None else names)}


def _member_column(path: DataPath, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Column:
    """Return the column of one array of a `.npz` file, which is open here and opened again to read its rows."""
    where = f"{path.name}, array {name!r}"

    @contextmanager
    def open_member() -> Iterator[IO[bytes]]:
        with (
            path.open("a readable .npz file") as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open(member) as file,
        ):
            yield file

    # xz allocates as many bytes as the file says before it reads any.
    with refuse_damaged(where, ".npz file", (*_DAMAGED, MemoryError)), archive.open(member) as file:
        header = _read_header(file, where)
        _check_size(where, member.file_size - header.offset, header)
    return _column(open_member, where, name, header)


def _column(
    open_file: Callable[[], AbstractContextManager[IO[bytes]]], where: str, name: str, header: _Header
) -> Column:
    """Return the column of an array in a file that is read from its beginning.

    Args:
        open_file: opens the file.
        where: name of the array for messages.
        name: name of the field.
        header: header of the array.
    """
    if not header.shape or header.fortran or 0 in header.shape:
        # A scalar has no rows, and an array in column order has no consecutive ones.
        with _refuse_damaged(where), open_file() as file:
            return Column.from_array(name, _read_whole(file, where, header))

    def read(rows: Rows, size: int) -> Iterator[AnyArray]:
        assert isinstance(rows, range)  # noqa: S101 - the column is not random
        with _refuse_damaged(where), open_file() as file:
            file.seek(header.offset + rows.start * header.row_bytes)
            for part in split_rows(rows, size):
                content = file.read(len(part) * header.row_bytes)
                if len(content) < len(part) * header.row_bytes:
                    raise EOFError
                yield np.frombuffer(content, header.dtype).reshape(len(part), *header.shape[1:])

    return Column(Field(name, header.dtype, header.shape), read, random=False)


def _read_whole(file: IO[bytes], where: str, header: _Header) -> AnyArray:
    try:
        file.seek(header.offset)
        content = file.read(header.size)
    except MemoryError as error:
        raise DataError(
            f"{where} has {header.size:,} bytes, columns first",
            "as much memory, or rows first, which are read block by block",
            "Save numpy.ascontiguousarray(array).",
        ) from error
    return _to_array(content, header)


def _to_array(content: bytes, header: _Header) -> AnyArray:
    """Return the array of a header from its bytes."""
    if len(content) < header.size:
        raise EOFError
    return np.ndarray(header.shape, header.dtype, content, order="F" if header.fortran else "C")


def parse_npy(content: bytes, where: str) -> AnyArray:
    """Return the array in the bytes of a `.npy` file.

    Args:
        content: the bytes.
        where: name of the array for messages.

    Raises:
        DataError: when they are damaged, or hold anything but numbers or words.
    """
    header = _read_header(io.BytesIO(content), where)
    _check_size(where, len(content) - header.offset, header)
    return _to_array(content[header.offset :], header)


def _read_header(file: IO[bytes], where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        with warnings.catch_warnings():
            # NumPy warns of headers that Python 2 wrote.
            warnings.simplefilter("ignore")
            shape, fortran, dtype = readers[version](file)
        offset = file.tell()
    except _NO_HEADER as error:
        raise DataError(
            f"{where} is no NumPy array, or only a part of one", "a whole array", "Save or copy the file again."
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{where} holds pickled Python objects",
            "a plain array of numbers; unpickling could run code, so onnxrich never does",
            "Convert it to a numeric array and save it again.",
        )
    if dtype.kind not in "biufU" or not dtype.itemsize:
        needed = "numbers, or words for labels"
        raise DataError(f"{where} has type {dtype}", needed, "Convert it to a numeric array and save it again.")
    if len(shape) > _MOST_AXES:
        raise DataError(
            f"{where} has {len(shape)} axes", f"at most {_MOST_AXES}, the most of NumPy", "Save or copy the file again."
        )
    return _Header(tuple(int(size) for size in shape), bool(fortran), dtype, offset)


def _check_size(where: str, size: int, header: _Header) -> None:
    # NumPy makes no array whose axes multiply to more, even if one of them has no entries.
    most = header.dtype.itemsize * math.prod(max(1, length) for length in header.shape)
    possible = most <= _MOST_BYTES and min(header.shape, default=0) >= 0
    if size != header.size or not possible:
        claimed = f"{header.size:,}" if possible else "a shape that no array has"
        raise DataError(
            f"{where} has {size:,} bytes of data, and its header claims {claimed}",
            "a whole file",
            "Save or copy it again.",
        )


def _refuse_damaged(where: str) -> AbstractContextManager[None]:
    return refuse_damaged(where, ".npz file", _DAMAGED)
