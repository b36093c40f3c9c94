"""NumPy files: `.npy` mapped into memory, `.npz` read as a stream, both without unpickling anything."""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from lzma import LZMAError
from typing import IO, Any

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.images.decode import ImageSpec
from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.source import SkippedItems
from onnxrich.data.table import AnyArray, Column, Field, Rows, Table, cut, of_array, of_columns, whole
from onnxrich.errors import DataError

# What the readers of archives and arrays raise for damaged ones; DataError is a ValueError, and passes `_guard`.
_DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
# What NumPy's reader of headers raises, which are literals of Python.
_NO_HEADER = (ValueError, KeyError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError)


def open_npy(request: OpenContext) -> Table:
    """The one array of a `.npy` file, mapped into memory: rows are read as they are used.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects.
    """
    place = request.place
    name = place.name.rpartition(".")[0]
    with place.open("a readable .npy file") as file:
        shape, fortran, dtype = _header(file, place.name)
        offset = file.tell()
        _check_size(place.name, file.seek(0, io.SEEK_END) - offset, shape, dtype)
    if 0 in shape:
        column = of_array(name, np.empty(shape, dtype))
    elif place.remote:
        column = _streamed(place, Field(name, dtype, shape), fortran)
    else:
        order: Any = "F" if fortran else "C"
        column = of_array(name, np.memmap(place.path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))
    return of_columns(place.name, {name: column})


def _streamed(place: DataPath, field: Field, fortran: bool) -> Column:
    """A remote array, read from its first row on."""

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with place.open("a readable .npy file") as file:
            yield file

    return _column(opened, place.name, field, fortran)


def open_npz(request: OpenContext) -> Table:
    """The arrays of a `.npz` file by name. Each is read, and unpacked, block by block: memory does not grow with rows.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects or two arrays of a name.
    """
    place = request.place
    with place.open("a readable .npz file") as file:
        try:
            members = zipfile.ZipFile(file).infolist()
        except _DAMAGED as error:
            raise _damaged(place.name, error) from error
    columns: dict[str, Column] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if not member.filename.endswith(".npy"):
            raise DataError(
                f"{place.name} holds a file {member.filename!r}", "NumPy arrays only", "Save it with numpy.savez."
            )
        if name in columns:
            raise DataError(
                f"{place.name} holds {name!r} twice", "one array of each name", "Save it again with numpy.savez."
            )
        columns[name] = _member(place, member, name)
    return of_columns(place.name, columns)


def read_arrays(
    path: str | os.PathLike[str], *, rows: int | None = None, names: Iterable[str] | None = None
) -> dict[str, AnyArray]:
    """The arrays of a local `.npz` file by name, all or some of them, whole or only their first rows.

    Raises:
        DataError: as `open_npz`.
    """
    table = open_npz(OpenContext(DataPath(os.fspath(path)), ImageSpec(Preprocessing()), SkippedItems()))
    return {name: whole(table, name, rows) for name in (table.fields if names is None else names)}


def _member(place: DataPath, member: zipfile.ZipInfo, name: str) -> Column:
    where = f"{place.name}, array {name!r}"

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with (
            place.open("a readable .npz file") as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open(member) as file,
        ):
            yield file

    with _guard(where), opened() as file:
        shape, fortran, dtype = _header(file, where)
        _check_size(where, member.file_size - file.tell(), shape, dtype)
    return _column(opened, where, Field(name, dtype, shape), fortran)


def _column(opened: Callable[[], AbstractContextManager[IO[bytes]]], where: str, field: Field, fortran: bool) -> Column:
    """The column of an array in a file that is read from its beginning."""
    shape, dtype = tuple(size or 0 for size in field.shape), field.dtype
    row = dtype.itemsize * math.prod(shape[1:])
    if not shape or fortran:
        # A scalar, or columns first: there are no rows to be read one by one.
        with _guard(where), opened() as file:
            return of_array(field.name, _whole(file, where, row * (shape[0] if shape else 1)))

    def blocks(rows: Rows, size: int) -> Iterator[AnyArray]:
        assert isinstance(rows, range)  # noqa: S101 - the column is not random
        with _guard(where), opened() as file:
            _header(file, where)
            file.seek(rows.start * row, io.SEEK_CUR)
            for part in cut(rows, size):
                content = file.read(len(part) * row)
                if len(content) < len(part) * row:
                    raise EOFError
                yield np.frombuffer(content, dtype).reshape(len(part), *shape[1:])

    return Column(field, blocks, random=False)


def _whole(file: IO[bytes], where: str, size: int) -> AnyArray:
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except MemoryError as error:
        raise DataError(
            f"{where} has {size:,} bytes, columns first",
            "as much memory, or rows first, which are read block by block",
            "Save numpy.ascontiguousarray(array).",
        ) from error


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
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
        raise DataError(f"{where} is of type {dtype}", needed, "Convert it to a numeric array and save it again.")
    return tuple(int(size) for size in shape), bool(fortran), dtype


def _check_size(where: str, have: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    need = dtype.itemsize * math.prod(shape)
    if have != need or any(size < 0 for size in shape):
        raise DataError(
            f"{where} has {have:,} bytes of data, and its header claims {need:,}",
            "a whole file",
            "Save or copy it again.",
        )


def _damaged(where: str, error: BaseException) -> DataError:
    return DataError(
        f"{where} is damaged or no .npz file ({type(error).__name__})", "a whole .npz file", "Save or copy it again."
    )


class _guard:  # noqa: N801 - used as a statement
    """Turns what a damaged archive raises into a DataError."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DAMAGED) and not isinstance(error, DataError):
            raise _damaged(self._where, error) from error
