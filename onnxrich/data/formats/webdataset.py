"""WebDataset: tar files in which the files of one sample share a name. They are read in place, never unpacked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import parts_of
from onnxrich.data.images.decode import SUFFIXES
from onnxrich.data.images.pool import Item, decoded
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, cut
from onnxrich.errors import DataError


@dataclass(frozen=True)
class _Member:
    """Where a file lies: number of the tar, first byte, bytes."""

    tar: int
    offset: int
    size: int


@dataclass(frozen=True)
class _Sample:
    """The files of a sample by extension."""

    name: str
    members: Mapping[str, _Member]


def open_webdataset(request: OpenContext) -> Table:
    """A tar file, or a folder of such, in the order of their names: images, `cls`, `txt` and `npy`.

    The extension is the name of the field; the class in `cls` is the label.

    Raises:
        DataError: when a tar is damaged, or samples hold nothing that is read.
    """
    place = request.place
    places = parts_of(place, ".tar") if place.is_folder() else [place]
    samples = [sample for tar, part in enumerate(places) for sample in _samples(part, tar)]
    if not samples:
        raise DataError(f"{place.name} holds no samples", "a tar of files named SAMPLE.EXTENSION", "Check the file.")
    fields, readers = {}, {}
    for extension in samples[0].members:
        made = _field(extension, samples, places)
        if made is not None:
            fields[made[0].name], readers[made[0].name] = made[0], (extension, made[1])

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        with ExitStack() as stack:
            files = [stack.enter_context(part.open("a readable tar file")) for part in places]
            reader = _Reader(samples, files, readers, place.name)
            yield from _read(reader, names, rows, size, request)

    return Table(place.name, fields, read, random=True)


@dataclass(frozen=True, eq=False)
class _Reader:
    samples: Sequence[_Sample]
    files: Sequence[IO[bytes]]
    readers: Mapping[str, tuple[str, Callable[[bytes], Any]]]
    name: str

    def content(self, row: int, field: str) -> bytes | None:
        """The bytes of one file of a sample, None where it has no such file."""
        member = self.samples[row].members.get(self.readers[field][0])
        return None if member is None else _bytes(self.files[member.tar], member)


def _read(reader: _Reader, names: Sequence[str], rows: Rows, size: int, request: OpenContext) -> Iterator[Block]:
    parts = cut(rows, size)
    image = next((name for name in names if name == "image"), None)
    others = [name for name in names if name != "image"]
    if image is None:
        for part in parts:
            yield _block({}, reader, others, part, request)
        return
    items = (([_item(reader, int(row)) for row in part], part) for part in parts)
    for images, kept, part in decoded(items, request, name=reader.name, rows=len(rows)):
        yield _block({"image": images}, reader, others, part, request, kept)


def _item(reader: _Reader, row: int) -> Item:
    return Item(reader.content(row, "image") or b"", f"{reader.name}, {reader.samples[row].name}")


def _block(
    arrays: dict[str, AnyArray],
    reader: _Reader,
    names: Sequence[str],
    part: Rows,
    request: OpenContext,
    kept: AnyArray | None = None,
) -> Block:
    good = np.ones(len(part), dtype=bool) if kept is None else kept.copy()
    values: dict[str, list[Any]] = {name: [] for name in names}
    for at in np.flatnonzero(good):
        row = int(part[at])
        try:
            read = {name: _value(reader, row, name) for name in names}
        except ValueError as error:
            request.ledger.skip(f"{reader.name}, {reader.samples[row].name}", str(error))
            good[at] = False
            continue
        for name in names:
            values[name].append(read[name])
    arrays = {name: array if kept is None else array[good[kept]] for name, array in arrays.items()}
    arrays |= {name: _stacked(values[name], name, reader) for name in names}
    return Block(arrays, len(part), None if good.all() else good)


def _stacked(values: list[Any], name: str, reader: _Reader) -> AnyArray:
    shapes = sorted({np.shape(value) for value in values})
    if len(shapes) > 1:
        raise DataError(
            f"{reader.name} holds arrays {name!r} of shapes {shapes[0]} and {shapes[1]}",
            "arrays of one shape within a batch",
            "Pad them to the same shape, or pass --batch-size 1.",
        )
    return np.array(values, dtype=object if name == "txt" else None)


def _value(reader: _Reader, row: int, name: str) -> Any:
    content = reader.content(row, name)
    if content is None:
        raise ValueError(f"no file .{reader.readers[name][0]}")
    return reader.readers[name][1](content)


def _field(
    extension: str, samples: Sequence[_Sample], places: Sequence[DataPath]
) -> tuple[Field, Callable[[bytes], Any]] | None:
    """The field of an extension, and how its files are read; None for those that are not."""
    n = len(samples)
    if f".{extension}".endswith(SUFFIXES):
        return Field("image", np.dtype(np.uint8), (n, None, None, None), image=True), bytes
    if extension == "cls":
        return Field("labels", np.dtype(np.int64), (n,)), _class
    if extension == "txt":
        return Field("txt", np.dtype(object), (n,)), lambda content: content.decode()
    if extension == "npy" or extension.endswith(".npy"):
        member = samples[0].members[extension]
        with places[member.tar].open("a readable tar file") as file:
            first = _array(_bytes(file, member))
        return Field(extension.removesuffix(".npy"), first.dtype, (n, *first.shape)), _array
    return None


def _class(content: bytes) -> int:
    text = content[:64].decode("ascii", "replace").strip()
    if not text.isdigit():
        raise ValueError(f"{text!r} in .cls, which is no class")
    return int(text)


def _array(content: bytes) -> AnyArray:
    try:
        found: AnyArray = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise ValueError("no NumPy array of numbers in .npy") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        raise ValueError("no NumPy array of numbers in .npy")
    return found


def _bytes(file: IO[bytes], member: _Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size)


def _samples(place: DataPath, tar: int) -> Iterator[_Sample]:
    """The samples of a tar: consecutive files with the same name up to the first dot behind the last slash."""
    name, members = "", dict[str, _Member]()
    for key, extension, member in _members(place, tar):
        if key != name or extension in members:
            if members:
                yield _Sample(name, members)
            name, members = key, {}
        members[extension] = member
    if members:
        yield _Sample(name, members)


def _members(place: DataPath, tar: int) -> Iterator[tuple[str, str, _Member]]:
    with place.open("a readable tar file") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as opened:
                while (entry := opened.next()) is not None:
                    # tarfile keeps every header: an archive of millions of files would fill the memory.
                    opened.members = []  # type: ignore[attr-defined]
                    folder, slash, base = entry.name.rpartition("/")
                    stem, dot, extension = base.partition(".")
                    # Links, devices and sparse files are no files of a sample. Sizes below zero and beyond the end
                    # tarfile refuses itself, when it looks for the next header.
                    if not entry.isreg() or entry.issparse() or not dot or not stem:
                        continue
                    member = _Member(tar, entry.offset_data, entry.size)
                    yield folder + slash + stem, extension.lower(), member
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
            raise DataError(
                f"{place.name} is damaged or no tar file ({type(error).__name__})",
                "a whole tar file, not compressed",
                "Copy it again; unpack a .tar.gz with gunzip.",
            ) from error
