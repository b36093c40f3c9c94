"""NumPy files: `.npy` mapped into memory, `.npz` read as a stream, both without unpickling anything."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.files import open_regular
from onnxrich.sources.base import AnyArray, Column

# What the readers of archives and arrays raise for damaged ones; DataError is a ValueError, and passes `_guard`.
_DAMAGED = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
# What NumPy's reader of headers raises, which are literals of Python.
_NO_HEADER = (ValueError, KeyError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError)


def read_npy(path: Path) -> Column:
    """The one array of a `.npy` file, mapped into memory: rows are read as they are used.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects.
    """
    with open_regular(path, DataError, "a readable .npy file") as file:
        shape, fortran, dtype = _header(file, path.name)
        offset = file.tell()
        _check_size(path.name, path.stat().st_size - offset, shape, dtype)
    if 0 in shape:
        return Column.of(path.stem, np.empty(shape, dtype))
    order: Any = "F" if fortran else "C"
    return Column.of(path.stem, np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order))


def read_npz(path: Path) -> dict[str, Column]:
    """The arrays of a `.npz` file by name. Each is read, and unpacked, block by block: memory does not grow with rows.

    Raises:
        DataError: when the file is missing, damaged, or holds Python objects or two arrays of a name.
    """
    with open_regular(path, DataError, "a readable .npz file") as file:
        try:
            members = zipfile.ZipFile(file).infolist()
        except _DAMAGED as error:
            raise _damaged(path.name, error) from error
    columns: dict[str, Column] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        where = f"{path.name}, array {name!r}"
        if not member.filename.endswith(".npy"):
            raise DataError(
                f"{path.name} holds a file {member.filename!r}", "NumPy arrays only", "Save it with numpy.savez."
            )
        if name in columns:
            raise DataError(
                f"{path.name} holds {name!r} twice", "one array of each name", "Save it again with numpy.savez."
            )
        columns[name] = _member(path, member, name, where)
    return columns


def _member(path: Path, member: zipfile.ZipInfo, name: str, where: str) -> Column:
    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file

    with _guard(where), opened() as file:
        shape, fortran, dtype = _header(file, where)
        _check_size(where, member.file_size - file.tell(), shape, dtype)
    if not shape or fortran:
        # A scalar, or columns first: there are no rows to be read one by one.
        with _guard(where), opened() as file:
            return Column.of(name, _whole(file, where, dtype.itemsize * math.prod(shape)))

    def blocks(size: int) -> Iterator[AnyArray]:
        row = dtype.itemsize * math.prod(shape[1:])
        with _guard(where), opened() as file:
            _header(file, where)
            for start in range(0, shape[0], size):
                rows = min(size, shape[0] - start)
                content = file.read(rows * row)
                if len(content) < rows * row:
                    raise EOFError
                yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])

    return Column(name, dtype, shape, blocks)


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
    if dtype.kind not in "biuf":
        raise DataError(f"{where} is of type {dtype}", "numbers", "Convert it to a numeric array and save it again.")
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
