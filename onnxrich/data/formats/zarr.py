"""Zarr arrays and groups, read by zarr: each array of numbers is a field."""

from __future__ import annotations

import functools
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath, refuse_damaged
from onnxrich.data.table import Block, Field, Rows, Table, check_expansion, read_ascending, split_rows, unwritten_notice
from onnxrich.errors import DataError

# Codecs that only unpack numbers. Others are refused: one of them unpickles, which could run code.
CODECS = {
    "bytes", "endian", "blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma", "crc32c", "crc32", "adler32", "transpose",
    "sharding_indexed", "shuffle", "delta", "bitround", "fixedscaleoffset", "packbits",
}  # fmt: skip
_METADATA, LARGEST_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"), 2**26
# Where the header of a Blosc chunk holds the length of the chunk.
_BLOSC_LENGTH = slice(12, 16)
# Groups inside each other.
_MAX_DEPTH = 8
# What zarr and its codecs raise for damaged data.
_DAMAGED = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ImportError, ArithmeticError,
    MemoryError, AssertionError, EOFError, SystemError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def open_zarr(context: OpenContext) -> Table:
    """Open the arrays of a Zarr folder or zip file, versions 2 and 3, named by their path; a single one is `array`.

    Raises:
        DataError: when it is damaged, or packed by a codec that is not on the list.
    """
    path = context.path
    with _refuse_damaged(path):
        root = _open(path)
        arrays = dict(_find_arrays(root))
        for name, array in arrays.items():
            _check_codecs(array.metadata.to_dict(), f"{path.name}: array {name!r}")
        fields = {name: Field(name, np.dtype(array.dtype), tuple(array.shape)) for name, array in arrays.items()}
        claimed = sum(array.dtype.itemsize * math.prod(array.shape) for array in arrays.values())
        check_expansion(path.name, claimed, lambda: sum(array.nbytes_stored() for array in arrays.values()))
        unwritten = [name for name, array in arrays.items() if array.nchunks_initialized < array.nchunks]
        undefined = next((name for name in unwritten if arrays[name].fill_value is None), None)
        if undefined is not None:
            # Zarr would return what is in the memory.
            raise DataError(
                f"{path.name} has no file for some chunks of {undefined!r}, and no value that fills them",
                "all chunks",
                "Copy it again, or save it with a fill value.",
            )
        context.skipped.open_notices += [unwritten_notice(path.name, unwritten)] if unwritten else []

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        for part in split_rows(rows, size):
            with _refuse_damaged(path):
                block = {name: read_ascending(arrays[name], part, arrays[name].oindex.__getitem__) for name in names}
            yield Block(block, len(part))

    return Table(path.name, fields, read, random=True)


def _zarr() -> Any:
    zarr = import_optional("zarr", "zarr", "Zarr data")
    _check_blosc_lengths()
    return zarr


@functools.cache
def _check_blosc_lengths() -> None:
    """Let numcodecs refuse Blosc chunks of another length than their header says: it would read beyond their end."""
    from numcodecs.blosc import Blosc

    decode = Blosc.decode

    def decode_checked(self: Any, buf: Any, out: Any = None) -> Any:
        content = memoryview(buf).cast("B")
        if int.from_bytes(content[_BLOSC_LENGTH], "little") != len(content):
            raise ValueError("a Blosc chunk that is cut, or has another length than its header says")
        return decode(self, buf, out)

    Blosc.decode = decode_checked


def _open(path: DataPath) -> Any:
    zarr = _zarr()
    if path.name.lower().endswith(".zip"):
        file = path.path if path.is_folder() else path.opened_by_path("a readable zip file of Zarr, or a folder")
        return zarr.open(zarr.storage.ZipStore(file, mode="r"), mode="r")
    if not path.remote and path.is_folder():
        _check_files(path)
    elif not path.remote:
        path.open("a folder of Zarr").close()
    return zarr.open(path.url, mode="r")


def _check_files(path: DataPath) -> None:
    """Check the files of a folder, which zarr opens by itself: their kind, their place, and the size of metadata."""
    path.check_tree()
    for name in path.walk():
        if name.rpartition("/")[2] in _METADATA:
            path.child(name).read("readable metadata", LARGEST_METADATA)


def _find_arrays(root: Any) -> Iterator[tuple[str, Any]]:
    array_type = _zarr().Array
    if isinstance(root, array_type):
        yield "array", root
        return
    for name, member in root.members(max_depth=_MAX_DEPTH):
        if isinstance(member, array_type) and np.dtype(member.dtype).kind in "biuf":
            yield name, member


def _check_codecs(metadata: Any, where: str) -> None:
    """Refuse codecs at any depth of an array's metadata that are not on the list."""
    if isinstance(metadata, list | tuple):
        for entry in metadata:
            _check_codecs(entry, where)
    if not isinstance(metadata, Mapping):
        return
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        codecs = metadata.get(key)
        for codec in codecs if isinstance(codecs, list | tuple) else [] if codecs is None else [codecs]:
            config = _codec_config(codec)
            name = str(config.get("name", config.get("id", "?"))).removeprefix("numcodecs.")
            if name not in CODECS:
                raise DataError(
                    f"{where} is packed by codec {name!r}",
                    f"one of {', '.join(sorted(CODECS))}",
                    "Save it with one of these.",
                )
            _check_codecs(config.get("configuration"), where)


def _codec_config(codec: Any) -> Mapping[str, Any]:
    if isinstance(codec, Mapping):
        return codec
    config: Mapping[str, Any] = getattr(codec, "to_dict", getattr(codec, "get_config", dict))()
    return config


def _refuse_damaged(path: DataPath) -> AbstractContextManager[None]:
    return refuse_damaged(path.name, "Zarr array", _DAMAGED)
