"""Folders of images, a class in each subfolder, or a CSV that lists files and labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePosixPath

import numpy as np

from onnxrich.data.context import OpenContext
from onnxrich.data.images.decode import SUFFIXES
from onnxrich.data.images.pool import Item, decoded
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, cut
from onnxrich.errors import DataError

LARGEST_LIST = 2**30


@dataclass(frozen=True, eq=False)
class _Listing:
    """Files of images relative to a folder, and their labels."""

    folder: DataPath
    files: Sequence[str]
    labels: AnyArray | None
    classes: tuple[str, ...] | None


def open_images(request: OpenContext) -> Table:
    """The images of a folder, or of a CSV with the columns `file` and `label`.

    Each subfolder is a class, numbered in the order of the names; its images come in an order that is as good as
    random, and always the same: intervals need blocks of rows that are drawn independently. Images that lie in one
    folder have no labels, and come in the order of their names.

    Raises:
        DataError: when there are no images, or some lie in subfolders and some don't.
    """
    place = request.place
    listing = _folder(place) if place.is_folder() else _listed(place)
    n = len(listing.files)
    fields = {"image": Field("image", np.dtype(np.uint8), (n, None, None, None), image=True)}
    if listing.labels is not None:
        fields["labels"] = Field("labels", listing.labels.dtype, (n,), classes=listing.classes)

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        if "image" not in names:
            yield from (_block({}, listing, names, part) for part in cut(rows, size))
            return
        parts = (
            ([Item(listing.folder.child(listing.files[i]), listing.files[i]) for i in part], part)
            for part in cut(rows, size)
        )
        for images, kept, part in decoded(parts, request, name=place.name, rows=len(rows)):
            yield _block({"image": images}, listing, names, part, kept)

    return Table(place.name, fields, read, random=True)


def _block(
    arrays: dict[str, AnyArray], listing: _Listing, names: Sequence[str], part: Rows, kept: AnyArray | None = None
) -> Block:
    if "labels" in names and listing.labels is not None:
        labels = listing.labels[np.asarray(part)]
        arrays["labels"] = labels if kept is None else labels[kept]
    return Block(arrays, len(part), kept)


def _folder(place: DataPath) -> _Listing:
    files = [name for name in place.walk() if name.lower().endswith(SUFFIXES) and not _hidden(name)]
    if not files:
        raise DataError(
            f"{place.name} holds no images",
            f"files that end in {', '.join(SUFFIXES)}",
            "Pass the folder of the images, or another kind of data.",
        )
    tops = [name.partition("/")[0] if "/" in name else "" for name in files]
    if "" in tops:
        if any(tops):
            loose = files[tops.index("")]
            raise DataError(
                f"{place.name} holds images in subfolders, and {loose!r} beside them",
                "a subfolder for each class, or all images in one folder",
                "Move them, or pass images:FILE.csv with the columns file and label.",
            )
        return _Listing(place, files, None, None)
    labels, classes = np.unique(tops, return_inverse=True)[1], tuple(sorted(set(tops)))
    order = _mixed(files)
    return _Listing(place, [files[at] for at in order], labels[order], classes)


def _mixed(files: Sequence[str]) -> list[int]:
    """An order of files that has nothing to do with their names, but follows from them alone."""
    return sorted(range(len(files)), key=lambda at: blake2b(os.fsencode(files[at]), digest_size=8).digest())


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _listed(place: DataPath) -> _Listing:
    with place.open("a folder of images, or a CSV file that lists them") as file:
        content = file.read(LARGEST_LIST)
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place.name} is no CSV file ({error})", "a CSV file in UTF-8", "Save it again.") from error
    if not rows or rows[0].get("file") is None:
        told = ", ".join(map(repr, rows[0])) if rows else "no rows"
        raise DataError(
            f"{place.name} with {told}", "the columns file and label", "Write `file,label` as its first line."
        )
    files = [row["file"] or "" for row in rows]
    outside = next((name for name in files if not _inside(name)), None)
    if outside is not None:
        raise DataError(
            f"{place.name} names {outside!r}", "files in its own folder or below", "Move the list or the images."
        )
    labels = [row.get("label") for row in rows]
    if "label" not in rows[0]:
        return _Listing(place.beside(""), files, None, None)
    blank = next((at for at, label in enumerate(labels) if not (label or "").strip()), None)
    if blank is not None:
        raise DataError(f"{place.name}: no label in line {blank + 2}", "a label in each line", "Fill it in.")
    return _Listing(place.beside(""), files, *numbered([label or "" for label in labels]))


def _inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts and "://" not in name


def numbered(labels: Sequence[str]) -> tuple[AnyArray, tuple[str, ...] | None]:
    """Labels as integers: whole numbers as they are, names by their place in the sorted list of names."""
    unique = sorted(set(labels))
    if all(name.isascii() and name.isdigit() and (name == "0" or name[0] != "0") and len(name) < 10 for name in unique):
        return np.array([int(label) for label in labels], dtype=np.int64), None
    index = {name: at for at, name in enumerate(unique)}
    return np.array([index[label] for label in labels], dtype=np.int64), tuple(unique)
