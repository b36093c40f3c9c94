"""WebDataset: tar files in which the files of one sample share a name, read in place and never unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import find_parts
from onnxrich.data.formats.numpy import parse_npy
from onnxrich.data.images.decode import ENDINGS
from onnxrich.data.images.pool import ImageItem, decode_blocks
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, split_rows
from onnxrich.errors import DataError

# Digits of a class that fits 64 bits.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class _Member:
    """Position of a file: number of the tar, first byte, and number of bytes."""

    tar: int
    offset: int
    size: int

    def read(self, file: IO[bytes]) -> bytes:
        file.seek(self.offset)
        return file.read(self.size)


@dataclass(frozen=True)
class _Sample:
    """Name of a sample, and its files by extension."""

    name: str
    members: Mapping[str, _Member]


@dataclass(frozen=True)
class _Part:
    """A field, and how it is read.

    Attributes:
        field: the field.
        extension: extension of its files.
        parse: returns the value of a file's bytes; raises ValueError for an invalid one.
    """

    field: Field
    extension: str
    parse: Callable[[bytes], Any]


def open_webdataset(context: OpenContext) -> Table:
    """Open a tar file, or the tar files of a folder in the order of their names: images, `cls`, `txt` and `npy`.

    The extension is the name of the field; the class in `cls` is the label.

    Raises:
        DataError: when a tar is damaged, or has no samples.
    """
    path = context.path
    tars = find_parts(path, ".tar") if path.is_folder() else [path]
    samples = [sample for number, tar in enumerate(tars) for sample in _read_samples(tar, number)]
    if not samples:
        raise DataError(f"{path.name} holds no samples", "a tar of files named SAMPLE.EXTENSION", "Check the file.")
    candidates = (_find_part(extension, samples, tars) for extension in samples[0].members)
    parts = {part.field.name: part for part in candidates if part is not None}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        with ExitStack() as stack:
            files = [stack.enter_context(tar.open("a readable tar file")) for tar in tars]
            yield from _Reader(path.name, samples, parts, files, context).read(names, rows, size)

    return Table(path.name, {name: part.field for name, part in parts.items()}, read, random=True)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads samples of open tar files.

    Attributes:
        name: name of the data.
        samples: the samples, in order.
        parts: parts of a sample by name of their field.
        files: the tar files.
        context: form of images, and where to report samples that can't be read.
    """

    name: str
    samples: Sequence[_Sample]
    parts: Mapping[str, _Part]
    files: Sequence[IO[bytes]]
    context: OpenContext

    def read(self, names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        """Yield blocks of `size` samples."""
        others = [name for name in names if name != "image"]
        if "image" not in names:
            yield from (self._read_block(others, block_rows) for block_rows in split_rows(rows, size))
            return
        blocks = (([self._image(int(row)) for row in block_rows], block_rows) for block_rows in split_rows(rows, size))
        for images, readable, block_rows in decode_blocks(blocks, self.context, self.name):
            rest = self._read_block(others, block_rows, readable)
            mask = rest.mask() if readable is None else rest.mask()[readable]
            yield Block({"image": images[mask], **rest.arrays}, rest.rows, rest.readable)

    def _image(self, row: int) -> ImageItem:
        return ImageItem(self._content(row, "image") or b"", self._sample_name(row))

    def _sample_name(self, row: int) -> str:
        return f"{self.name}, {self.samples[row].name}"

    def _content(self, row: int, name: str) -> bytes | None:
        """Read one file of a sample, None where the sample has no such file."""
        member = self.samples[row].members.get(self.parts[name].extension)
        return None if member is None else member.read(self.files[member.tar])

    def _read_block(self, names: Sequence[str], rows: Rows, readable: AnyArray | None = None) -> Block:
        """Read some fields of samples, without those in which one is missing or invalid."""
        valid = np.ones(len(rows), dtype=bool) if readable is None else readable.copy()
        values: dict[str, list[Any]] = {name: [] for name in names}
        for at in np.flatnonzero(valid):
            row = int(rows[at])
            try:
                sample = {name: self._value(row, name) for name in names}
            except ValueError as error:
                self.context.skipped.skip(self._sample_name(row), str(error))
                valid[at] = False
                continue
            for name in names:
                values[name].append(sample[name])
        arrays = {name: self._stack(values[name], name) for name in names}
        return Block(arrays, len(rows), None if valid.all() else valid)

    def _value(self, row: int, name: str) -> Any:
        content = self._content(row, name)
        if content is None:
            raise ValueError(f"no file .{self.parts[name].extension}")
        return self.parts[name].parse(content)

    def _stack(self, values: list[Any], name: str) -> AnyArray:
        shapes = sorted({np.shape(value) for value in values})
        if len(shapes) > 1:
            raise DataError(
                f"{self.name} holds arrays {name!r} of shapes {shapes[0]} and {shapes[1]}",
                "arrays of one shape within a batch",
                "Pad them to the same shape, or pass --batch-size 1.",
            )
        return np.array(values, dtype=object if name == "txt" else None)


def _find_part(extension: str, samples: Sequence[_Sample], tars: Sequence[DataPath]) -> _Part | None:
    """Return the part of an extension, None for one that is not read."""
    n = len(samples)
    if f".{extension}".endswith(ENDINGS):
        return _Part(Field.of_images("image", n), extension, bytes)
    if extension == "cls":
        return _Part(Field("labels", np.dtype(np.int64), (n,)), extension, _parse_class)
    if extension == "txt":
        return _Part(Field("txt", np.dtype(object), (n,)), extension, lambda content: content.decode())
    if extension == "npy" or extension.endswith(".npy"):
        member = samples[0].members[extension]
        with tars[member.tar].open("a readable tar file") as file:
            try:
                first = _parse_array(member.read(file))
            except ValueError as error:
                raise DataError(
                    f"{tars[member.tar].name}, {samples[0].name}: {error}", "whole arrays", "Save or copy it again."
                ) from error
        field = Field(extension.removesuffix(".npy"), first.dtype, (n, *first.shape))
        return _Part(field, extension, _parse_array)
    return None


def _parse_class(content: bytes) -> int:
    text = content[:64].decode("ascii", "replace").strip()
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise ValueError(f"{text!r} in .cls, which is no class")
    return int(text)


def _parse_array(content: bytes) -> AnyArray:
    try:
        array = parse_npy(content, ".npy")
    except DataError as error:
        raise ValueError("no NumPy array of numbers in .npy") from error
    if array.dtype.kind not in "biuf":
        raise ValueError("no NumPy array of numbers in .npy")
    return array


def _read_samples(path: DataPath, tar: int) -> Iterator[_Sample]:
    """Yield the samples of a tar: consecutive files with the same name up to the first dot behind the last slash."""
    name, members = "", dict[str, _Member]()
    for key, extension, member in _read_members(path, tar):
        if key != name or extension in members:
            if members:
                yield _Sample(name, members)
            name, members = key, {}
        members[extension] = member
    if members:
        yield _Sample(name, members)


def _read_members(path: DataPath, tar: int) -> Iterator[tuple[str, str, _Member]]:
    """Yield name of the sample, extension and position of each file of a tar."""
    with path.open("a readable tar file") as file:
        end = file.seek(0, 2)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as opened:
                while (entry := opened.next()) is not None:
                    # tarfile keeps every header: an archive of millions of files would fill the memory.
                    opened.members = []  # type: ignore[attr-defined]
                    folder, slash, base = entry.name.rpartition("/")
                    stem, dot, extension = base.partition(".")
                    if entry.isdir() or not dot or not stem:
                        continue
                    if not entry.isreg() or entry.issparse():
                        raise _no_file(path, entry)
                    # Another header may change the size that tarfile has checked.
                    if not 0 <= entry.size <= end - entry.offset_data:
                        raise EOFError
                    member = _Member(tar, entry.offset_data, entry.size)
                    yield folder + slash + stem, extension.lower(), member
        except DataError:
            raise
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{path.name} is damaged or no tar file ({type(error).__name__})",
                "a whole tar file, not compressed",
                "Copy it again; unpack a .tar.gz with gunzip.",
            ) from error


def _no_file(path: DataPath, entry: tarfile.TarInfo) -> DataError:
    """The error of a link, a device or a sparse file: its sample would be missing silently."""
    kind = f"a link to {entry.linkname[:50]!r}" if entry.islnk() or entry.issym() else "a device or a sparse file"
    return DataError(
        f"{path.name} holds {entry.name[:100]!r}, which is {kind}",
        "files with their content",
        "Pack it again: tar --dereference --hard-dereference.",
    )
