"""Zarr arrays and groups, by zarr: each array of numbers is a field."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, cut
from onnxrich.errors import DataError

# Codecs that only unpack numbers. Others are refused: one of them unpickles, which could run code.
CODECS = {
    "bytes", "endian", "blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma", "crc32c", "crc32", "adler32", "transpose",
    "sharding_indexed", "shuffle", "delta", "bitround", "fixedscaleoffset", "packbits",
}  # fmt: skip

_DAMAGED = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ImportError, ArithmeticError,
    MemoryError, AssertionError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def open_zarr(request: OpenContext) -> Table:
    """The arrays of a Zarr folder or zip file, versions 2 and 3, named by their path; a single one is `array`.

    Raises:
        DataError: when it is damaged, or packed by a codec that is not trusted.
    """
    place = request.place
    with _reading(place.name):
        root = _open(request)
        arrays = dict(_arrays(root, import_optional("zarr", "zarr", "Zarr data")))
        for name, array in arrays.items():
            _check_codecs(array.metadata.to_dict(), f"{place.name}: array {name!r}")
        fields = {name: Field(name, np.dtype(array.dtype), tuple(array.shape)) for name, array in arrays.items()}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        for part in cut(rows, size):
            with _reading(place.name):
                arrays_ = {name: _rows(arrays[name], part) for name in names}
            yield Block(arrays_, len(part))

    return Table(place.name, fields, read, random=True)


def _rows(array: Any, part: Rows) -> AnyArray:
    if not array.shape:
        return np.asarray(array[()])
    if isinstance(part, range):
        return np.asarray(array[part.start : part.stop])
    ascending, back = np.unique(part, return_inverse=True)
    return np.asarray(array.oindex[ascending])[back]


def _open(request: OpenContext) -> Any:
    zarr, place = import_optional("zarr", "zarr", "Zarr data"), request.place
    if not place.remote and not place.is_folder():
        place.open("a readable zip file of Zarr, or a folder").close()
    packed = place.name.lower().endswith(".zip")
    return zarr.open(zarr.storage.ZipStore(place.path, mode="r") if packed else place.url, mode="r")


def _arrays(root: Any, zarr: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(root, zarr.Array):
        yield "array", root
        return
    for name, member in root.members(max_depth=8):
        if isinstance(member, zarr.Array) and np.dtype(member.dtype).kind in "biuf":
            yield name, member


def _check_codecs(metadata: Any, where: str) -> None:
    """Refuse codecs at any depth of an array's metadata that are not on the list."""
    if isinstance(metadata, list | tuple):
        for entry in metadata:
            _check_codecs(entry, where)
    if not isinstance(metadata, Mapping):
        return
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        given = metadata.get(key)
        for codec in given if isinstance(given, list | tuple) else [given] if given is not None else []:
            told = (
                codec if isinstance(codec, Mapping) else getattr(codec, "to_dict", getattr(codec, "get_config", dict))()
            )
            name = str(told.get("name", told.get("id", "?"))).removeprefix("numcodecs.")
            if name not in CODECS:
                raise DataError(
                    f"{where} is packed by codec {name!r}",
                    f"one of {', '.join(sorted(CODECS))}",
                    "Save it with one of these.",
                )
            _check_codecs(told.get("configuration"), where)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns what zarr and its codecs raise for damaged data into a DataError."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGED as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{name} is damaged or no Zarr ({reason})", "whole Zarr arrays", "Save or copy it again."
        ) from error
