"""HDF5 files, by h5py: each dataset of numbers is a field. What links lead out of the file is not followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table, cut
from onnxrich.errors import DataError

MOST_NAMES = 10_000


def open_hdf5(request: OpenContext) -> Table:
    """The datasets of an HDF5 file, named by their path in it.

    Raises:
        DataError: when the file is damaged, or a dataset keeps its values in other files.
    """
    place = request.place
    with _opened(place) as file:
        fields = dict(_fields(file, "", place.name))

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        with _opened(place) as file:
            for part in cut(rows, size):
                yield Block({name: _rows(file[name], part) for name in names}, len(part))

    return Table(place.name, fields, read, random=True)


def _rows(dataset: Any, part: Rows) -> AnyArray:
    """Some rows: h5py reads consecutive ones, or numbers in ascending order without repetition."""
    if not dataset.shape:
        return np.asarray(dataset[()])
    if isinstance(part, range):
        return np.asarray(dataset[part.start : part.stop])
    ascending, back = np.unique(part, return_inverse=True)
    return np.asarray(dataset[ascending])[back]


@contextmanager
def _opened(place: DataPath) -> Iterator[Any]:
    h5py = import_optional("h5py", "hdf5", "an HDF5 file")
    with place.open("a readable HDF5 file") as file:
        try:
            with h5py.File(file if place.remote else place.url, "r") as opened:
                yield opened
        except DataError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise DataError(
                f"{place.name} is damaged or no HDF5 file ({reason})", "a whole HDF5 file", "Save or copy it again."
            ) from error


def _fields(group: Any, prefix: str, name: str) -> Iterator[tuple[str, Field]]:
    h5py = import_optional("h5py", "hdf5", "an HDF5 file")
    for count, key in enumerate(group):
        # Soft and external links lead elsewhere, or round in a circle.
        if count > MOST_NAMES or not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        found, path = group[key], f"{prefix}{key}"
        if isinstance(found, h5py.Group):
            # Hard links of groups can form a circle too, which a path without end would follow.
            if path.count("/") < 16:
                yield from _fields(found, f"{path}/", name)
        elif isinstance(found, h5py.Dataset) and found.dtype.kind in "biuf" and found.shape is not None:
            if found.external or found.is_virtual:
                raise DataError(
                    f"{name}: dataset {path!r} keeps its values in other files",
                    "values in the file itself; nothing else is read because a file says so",
                    "Copy it into one file with h5repack.",
                )
            yield path, Field(path, found.dtype, tuple(found.shape))
