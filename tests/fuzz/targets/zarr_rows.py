"""Zarr in a zip file: shapes, chunks, types and codecs that lie, and missing chunks, against zarr's whole arrays."""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from pathlib import Path

import numpy as np
import zarr

from fuzz.mutations import mutate_bytes
from fuzz.rows import X, Y, check_rows, dump, mutate_value, mutate_zip, pack

SUFFIX = ".zarr.zip"
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def seeds() -> list[bytes]:
    """Groups of versions 2 and 3, with chunks and shards."""
    return [_write(version, shards) for version, shards in ((2, None), (3, None), (3, (24, 6)))]


def _write(version: int, shards: tuple[int, ...] | None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=version)  # type: ignore[arg-type]
        group.create_array("x", data=X, chunks=(6, 6), shards=shards)
        group.create_array("y", data=Y, chunks=(24,))
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return pack({str(path.relative_to(folder)): path.read_bytes() for path in files}, 0)


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change metadata, chunks or the archive."""
    return mutate_zip(rng, content, _change)


def _change(rng: random.Random, content: bytes) -> bytes:
    if not content.startswith(b"{") or rng.random() < 0.1:
        return mutate_bytes(rng, content)
    return dump(mutate_value(rng, json.loads(content)))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    group = zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r")
    arrays = [group[name] for name in ("x", "y")]
    assert all(isinstance(array, zarr.Array) and array.size < 10**7 for array in arrays)
    return np.asarray(arrays[0][:]), np.asarray(arrays[1][:])


def check(path: Path) -> None:
    """Rows and labels are those of zarr; its warnings of other files are for users of the library."""
    warnings.filterwarnings("ignore", module="zarr")
    check_rows(path, _read)
