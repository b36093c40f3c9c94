"""The formats of data, and which one a name means: `FORMAT:PATH`, or the ending of the name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError

# Files that `save_to_disk` of Hugging Face's datasets writes into a folder: of one data set, and of several splits.
DATASET_INFO, DATASET_SPLITS = "dataset_info.json", "dataset_dict.json"


@dataclass(frozen=True)
class Format:
    """A format of data.

    Attributes:
        opener: module in this folder, and the function in it that opens such data: "module:function".
        endings: endings of the names of such files.
    """

    opener: str
    endings: tuple[str, ...] = ()

    def open(self, context: OpenContext) -> Table:
        """Import the format's module, and open the table of some data.

        Raises:
            DataError: when they can't be read.
        """
        module, _, function = self.opener.partition(":")
        open_table: Callable[[OpenContext], Table] = getattr(import_module(f"{__package__}.{module}"), function)
        return open_table(context)


@dataclass(frozen=True)
class NamedData:
    """Data that a file names, or that were found.

    Attributes:
        path: their path.
        format: the format that stands before it, empty where none does.
    """

    path: DataPath
    format: str = ""

    def __str__(self) -> str:
        return f"{self.format}:{self.path.url}" if self.format else self.path.url


FORMATS = {
    "npz": Format("numpy:open_npz", (".npz",)),
    "npy": Format("numpy:open_npy", (".npy",)),
    "idx": Format("idx:open_idx", ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")),
    "images": Format("image_folder:open_images"),
    "parquet": Format("parquet:open_parquet", (".parquet",)),
    "arrow": Format("arrow:open_arrow", (".arrow", ".feather")),
    "csv": Format("csv:open_csv", (".csv", ".tsv")),
    "json": Format("json:open_json", (".json", ".jsonl", ".ndjson")),
    "hf": Format("huggingface:open_dataset"),
    "webdataset": Format("webdataset:open_webdataset", (".tar",)),
    "hdf5": Format("hdf5:open_hdf5", (".h5", ".hdf5")),
    "zarr": Format("zarr:open_zarr", (".zarr", ".zarr.zip")),
}


def split_format(name: str) -> tuple[str, DataPath]:
    """Split a name into the format that stands before its path, empty where none does, and the path."""
    prefix, colon, rest = name.partition(":")
    if colon and prefix in FORMATS and not rest.startswith("//"):
        return prefix, DataPath(rest)
    return "", DataPath(name)


def format_of(name: str) -> str:
    """Return the format of a name's ending, empty where it has none of these."""
    lower = name.lower()
    return next((key for key, entry in FORMATS.items() if entry.endings and lower.endswith(entry.endings)), "")


def is_data_file(name: str) -> bool:
    """Tell whether a name is that of a data file rather than a key: it has a format before it, or the ending of one."""
    prefix, path = split_format(name)
    return bool(prefix or format_of(path.url))


def open_table(data: str | NamedData, context: Callable[[DataPath], OpenContext]) -> Table:
    """Open the table of named data.

    Args:
        data: path or URL, with or without its format before it, or data that were found.
        context: returns what a path is opened with.

    Raises:
        DataError: when it can't be read, or its format is unknown.
    """
    prefix, path = split_format(data) if isinstance(data, str) else (data.format, data.path)
    return FORMATS[prefix or format_of(path.url) or _detect(path)].open(context(path))


def _detect(path: DataPath) -> str:
    """Return the format of a folder from its files; refuse a file whose ending is unknown."""
    if not path.is_folder():
        path.open("a data file or a folder of images").close()
        raise DataError(
            f"{path.name} is of an unknown kind",
            f"one of {', '.join(ending for entry in FORMATS.values() for ending in entry.endings)}, or KIND:FILE",
            f"Put its kind before it: one of {', '.join(FORMATS)}.",
        )
    if any(path.child(name).is_file() for name in (DATASET_INFO, DATASET_SPLITS)):
        return "hf"
    first = next((name for name in path.walk() if not name.startswith(".")), "")
    ending = format_of(first)
    return ending if ending in ("parquet", "webdataset") else "images"
