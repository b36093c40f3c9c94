"""Archives of arrays that onnxrich wrote itself with `numpy.savez`, read without trust in what they say.

Requirements, so that reading takes no more memory and time than the length of the file explains:

- Arrays are stored, as `numpy.savez` stores them: nothing expands.
- The list of arrays is short, which is checked before it is read, and names each array once.
- Type and shape of an array are checked against the caller's, and against the bytes that are there, before memory is
  taken for it. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# The most bytes that are read at once, and that the list of the arrays may take. A zip archive of any length can end
# with a list of any length, and its reader asks for all of it.
LARGEST_READ = 2**20
# The most bytes of the list that an array takes: 46, its name, and sizes above 4 GiB.
LISTED = 256
# The most arrays of an archive whose number is not known: a checkpoint of 1,000 layers in 16 blocks has fewer.
MOST_ARRAYS = 2**16
# Encrypted, by the format's flags.
_ENCRYPTED = 0x1

# What the readers of archives and arrays raise for damaged ones.
_DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, OverflowError, struct.error)
# What NumPy raises for damaged headers, which are Python literals.
_NO_HEADER = (
    ValueError, KeyError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, OverflowError,
    tokenize.TokenError, struct.error,
)  # fmt: skip


class ArchiveError(ValueError):
    """An archive that is damaged, or that `numpy.savez` did not write; the message is a clause that says why."""


@contextlib.contextmanager
def open_archive(file: BinaryIO, *, arrays: int = 0) -> Iterator[Archive]:
    """Open an archive of arrays.

    Args:
        file: the file, which can be sought in.
        arrays: number of arrays that it may hold, where these are many.

    Raises:
        ArchiveError: when it is damaged, here or inside of the `with` statement.
    """
    try:
        yield Archive(file, max(LARGEST_READ, arrays * LISTED))
    except _DAMAGED as error:
        raise ArchiveError(f"it is cut or damaged ({type(error).__name__})") from error


class Archive:
    """The arrays of an archive by name.

    Raises:
        ArchiveError: when two have a name, when one is compressed or encrypted, or when they are longer than the file.
    """

    def __init__(self, file: BinaryIO, largest_read: int) -> None:
        length = file.seek(0, io.SEEK_END)
        self._archive = zipfile.ZipFile(_BoundedReads(file, largest_read))
        members = self._archive.infolist()
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        if len(self._members) < len(members):
            raise ArchiveError("it holds two arrays of a name")
        if any(member.flag_bits & _ENCRYPTED for member in members):
            raise ArchiveError("it is encrypted")
        if any(
            member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size for member in members
        ):
            raise ArchiveError("it is compressed, which numpy.savez does not do")
        if sum(member.file_size for member in members) > length:
            raise ArchiveError("its arrays are longer than the file")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, dtype: str, shape: tuple[int, ...] | None = None, *, most: int = 0) -> NDArray[Any]:
        """Read an array in the machine's byte order.

        Args:
            name: its name.
            dtype: the type that it must have, such as "f8"; a letter alone, such as "i", for any size.
            shape: the shape that it must have; None for any number of entries along one axis.
            most: the most bytes where no shape is given.

        Raises:
            ArchiveError: when it is missing, damaged, or another one.
        """
        if name not in self._members:
            raise ArchiveError(f"{name!r} is missing")
        member = self._members[name]
        with self._archive.open(member) as file:
            found_shape, fortran, found = _read_header(file, name)
            if (found.str[1:] != dtype and found.kind != dtype) or not found.itemsize:
                raise ArchiveError(f"{name!r} has type {_type_name(found)}")
            if (shape is None and len(found_shape) != 1) or (shape is not None and found_shape != shape):
                raise ArchiveError(f"{name!r} has {len(found_shape)} axes" if shape is None else f"shape of {name!r}")
            size = found.itemsize * math.prod(found_shape)
            if size != member.file_size - file.tell() or min(found_shape, default=0) < 0:
                raise ArchiveError(f"{name!r} is not as long as it says")
            if shape is None and size > most:
                raise ArchiveError(f"{name!r} has {size:,} bytes, above {most:,}")
            content = _read_exactly(file, size)
        array = np.ndarray(found_shape, found, buffer=content, order="F" if fortran else "C")
        return array.astype(found.newbyteorder("="), copy=False)

    def read_text(self, name: str, *, most: int) -> str:
        """Read a text that NumPy saved as an array without axes.

        Args:
            name: name of the array.
            most: the most characters.

        Raises:
            ArchiveError: when it is missing, damaged, or no text.
        """
        member = self._members.get(name)
        # Four bytes a character, behind a header of less than a page.
        if member is not None and member.file_size > 4 * most + 4096:
            raise ArchiveError(f"{name!r} has more than {most:,} characters")
        array = self.read(name, "U", ())
        try:
            # NumPy makes text of whatever the bytes say, and fails on it later.
            return array.astype(array.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0")
        except UnicodeDecodeError as error:
            raise ArchiveError(f"{name!r} is no text") from error


class _BoundedReads:
    """A file of which no reader gets much at once."""

    def __init__(self, file: BinaryIO, largest: int) -> None:
        self._file, self._largest = file, largest
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(min(size, self._largest + 1) if size >= 0 else self._largest + 1)
        if size > self._largest or len(content) > self._largest:
            raise ArchiveError(f"it lists its arrays in more than {self._largest:,} bytes")
        return content


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, memory order and type of an array."""
    try:
        version = np.lib.format.read_magic(file)
        # Other versions are for structured arrays, and numpy.savez writes none here.
        if version != (1, 0):
            raise ValueError(version)
        with warnings.catch_warnings():
            # A header is parsed as Python, which warns of literals that nobody would write.
            warnings.simplefilter("ignore")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except _NO_HEADER as error:
        raise ArchiveError(f"{name!r} is no array, or only a part of one") from error
    return tuple(int(size) for size in shape), bool(fortran), dtype


def _type_name(dtype: np.dtype[Any]) -> str:
    """The type for messages; those with fields can be long."""
    return "with fields" if dtype.names or dtype.subdtype else dtype.name


def _read_exactly(file: IO[bytes], size: int) -> bytearray:
    """Read so many bytes, which end the member: its checksum is verified there."""
    content = bytearray(size)
    for start in range(0, size, LARGEST_READ):
        part = file.read(min(LARGEST_READ, size - start))
        if len(part) < min(LARGEST_READ, size - start):
            raise EOFError
        content[start : start + len(part)] = part
    if file.read(1):
        raise EOFError
    return content
