"""Folders of images with one subfolder for each class, and CSV files that list images and their labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath

import numpy as np

from onnxrich.data.class_names import number_classes
from onnxrich.data.context import OpenContext
from onnxrich.data.images.decode import ENDINGS
from onnxrich.data.images.pool import ImageItem, decode_blocks
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, split_rows
from onnxrich.errors import DataError

LARGEST_LIST = 2**30


@dataclass(frozen=True, eq=False)
class _Listing:
    """Image files relative to a folder, and their labels.

    Attributes:
        folder: the folder.
        files: paths of the files in it.
        labels: integers of shape (n,), None without labels.
        classes: names of the classes, None for labels that are numbers.
    """

    folder: DataPath
    files: Sequence[str]
    labels: AnyArray | None = None
    classes: tuple[str, ...] | None = None

    def items(self, part: Rows) -> list[ImageItem]:
        """Return the images of some rows."""
        return [ImageItem(self.folder.child(self.files[row]), self.files[row]) for row in part]

    def block(self, names: Sequence[str], part: Rows) -> Block:
        """Return the labels of some rows, where they are requested and exist."""
        if self.labels is None or "labels" not in names:
            return Block({}, len(part))
        return Block({"labels": self.labels[np.asarray(part)]}, len(part))


def open_images(context: OpenContext) -> Table:
    """Open the images of a folder, or of a CSV file with the columns `file` and `label`.

    Each subfolder is a class, numbered in the order of the names. Its images come in a pseudorandom order that depends
    on their names alone: intervals need blocks of rows that are drawn independently. Images in one folder have no
    labels, and come in the order of their names.

    Raises:
        DataError: when there are no images, or some lie in subfolders and some don't.
    """
    path = context.path
    listing = _list_folder(path) if path.is_folder() else _read_list(path)
    n = len(listing.files)
    fields = {"image": Field.of_images("image", n)}
    if listing.labels is not None:
        fields["labels"] = Field("labels", listing.labels.dtype, (n,), classes=listing.classes)

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        parts = split_rows(rows, size)
        if "image" not in names:
            yield from (listing.block(names, part) for part in parts)
            return
        blocks = ((listing.items(part), listing.block(names, part)) for part in parts)
        for images, readable, block in decode_blocks(blocks, context, path.name):
            arrays = {name: array if readable is None else array[readable] for name, array in block.arrays.items()}
            yield Block({"image": images, **arrays}, block.rows, readable)

    return Table(path.name, fields, read, random=True)


def _list_folder(path: DataPath) -> _Listing:
    files = [name for name in path.walk() if name.lower().endswith(ENDINGS) and not _is_hidden(name)]
    if not files:
        raise DataError(
            f"{path.name} holds no images",
            f"files that end in {', '.join(ENDINGS)}",
            "Pass the folder of the images, or another kind of data.",
        )
    folders = [name.partition("/")[0] if "/" in name else "" for name in files]
    if not any(folders):
        return _Listing(path, files)
    if "" in folders:
        loose = files[folders.index("")]
        raise DataError(
            f"{path.name} holds images in subfolders, and {loose!r} beside them",
            "a subfolder for each class, or all images in one folder",
            "Move them, or pass images:FILE.csv with the columns file and label.",
        )
    labels = np.unique(folders, return_inverse=True)[1]
    order = _pseudorandom_order(files)
    return _Listing(path, [files[row] for row in order], labels[order], tuple(sorted(set(folders))))


def _pseudorandom_order(files: Sequence[str]) -> list[int]:
    """Return the order of the hashes of the names."""
    return sorted(range(len(files)), key=lambda row: blake2b(os.fsencode(files[row]), digest_size=8).digest())


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _read_list(path: DataPath) -> _Listing:
    content = path.read("a folder of images, or a CSV file that lists them", LARGEST_LIST)
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no CSV file ({error})", "a CSV file in UTF-8", "Save it again.") from error
    if not rows or rows[0].get("file") is None:
        columns = f"the columns {', '.join(map(repr, rows[0]))}" if rows else "no rows"
        raise DataError(
            f"{path.name} has {columns}", "the columns file and label", "Write `file,label` as its first line."
        )
    files = [row["file"] or "" for row in rows]
    outside = next((name for name in files if not _is_inside(name)), None)
    if outside is not None:
        raise DataError(
            f"{path.name} names {outside!r}", "files in its own folder or below", "Move the list or the images."
        )
    if "label" not in rows[0]:
        return _Listing(path.beside(""), files)
    labels = [row.get("label") or "" for row in rows]
    blank = next((number for number, label in enumerate(labels) if not label.strip()), None)
    if blank is not None:
        raise DataError(f"{path.name} has no label in line {blank + 2}", "a label in each line", "Fill it in.")
    return _Listing(path.beside(""), files, *number_classes(labels))


def _is_inside(name: str) -> bool:
    """Tell whether the path of an image stays inside the folder of its list."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts and "://" not in name
