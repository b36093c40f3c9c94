"""The kinds of data that are read, and which one a name means: `kind:place`, or the end of the name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.arrow import open_arrow
from onnxrich.data.formats.csv import open_csv
from onnxrich.data.formats.hdf5 import open_hdf5
from onnxrich.data.formats.huggingface import INFO, SPLITS, open_hub
from onnxrich.data.formats.idx import open_idx
from onnxrich.data.formats.image_folder import open_images
from onnxrich.data.formats.json import open_json
from onnxrich.data.formats.numpy import open_npy, open_npz
from onnxrich.data.formats.parquet import open_parquet
from onnxrich.data.formats.webdataset import open_webdataset
from onnxrich.data.formats.zarr import open_zarr
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        open: gives its table.
        endings: of the names of such files.
    """

    open: Callable[[OpenContext], Table]
    endings: tuple[str, ...] = ()


KINDS = {
    "npz": Kind(open_npz, (".npz",)),
    "npy": Kind(open_npy, (".npy",)),
    "idx": Kind(open_idx, ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")),
    "images": Kind(open_images),
    "parquet": Kind(open_parquet, (".parquet",)),
    "arrow": Kind(open_arrow, (".arrow", ".feather")),
    "csv": Kind(open_csv, (".csv", ".tsv")),
    "json": Kind(open_json, (".json", ".jsonl", ".ndjson")),
    "hf": Kind(open_hub),
    "webdataset": Kind(open_webdataset, (".tar",)),
    "hdf5": Kind(open_hdf5, (".h5", ".hdf5")),
    "zarr": Kind(open_zarr, (".zarr", ".zarr.zip")),
}


def kind_and_path(name: str) -> tuple[str, DataPath]:
    """The kind that stands before a place, empty where none does, and the place."""
    kind, colon, rest = name.partition(":")
    if colon and kind in KINDS and not rest.startswith("//"):
        return kind, DataPath(rest)
    return "", DataPath(name)


def ending_of(name: str) -> str:
    """The kind that the end of a name means, empty where it means none."""
    lower = name.lower()
    return next((kind for kind, entry in KINDS.items() if lower.endswith(entry.endings or ("\0",))), "")


def is_data_file(name: str) -> bool:
    """Whether a name is that of a data file rather than a key: it bears a kind, or ends as one does."""
    kind, place = kind_and_path(name)
    return bool(kind or ending_of(place.url))


def open_table(name: str, request: Callable[[DataPath], OpenContext]) -> Table:
    """The table of a named kind of data.

    Raises:
        DataError: when it can't be read, or it is not plain what kind it is.
    """
    kind, place = kind_and_path(name)
    kind = kind or ending_of(place.url) or _looked_up(place)
    return KINDS[kind].open(request(place))


def _looked_up(place: DataPath) -> str:
    if place.is_folder():
        return _folder_kind(place)
    place.open("a data file or a folder of images").close()
    raise DataError(
        f"{place.name}: unknown kind of file",
        f"one of {', '.join(ending for kind in KINDS.values() for ending in kind.endings)}, or KIND:FILE",
        f"Put its kind before it: one of {', '.join(KINDS)}.",
    )


def _folder_kind(place: DataPath) -> str:
    """What a folder is: a data set of Hugging Face if it bears its papers; files of one kind; else images."""
    if any(place.child(name).is_file() for name in (INFO, SPLITS)):
        return "hf"
    first = next((name for name in place.walk() if not name.startswith(".")), "")
    kind = ending_of(first)
    return kind if kind in ("parquet", "webdataset") else "images"
