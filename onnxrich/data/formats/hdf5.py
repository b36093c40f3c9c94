"""HDF5 files, read by h5py: each dataset of numbers is a field. Links out of the file are not followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath, refuse_damaged
from onnxrich.data.table import Block, Field, Rows, Table, check_expansion, read_ascending, split_rows, unwritten_notice
from onnxrich.errors import DataError, Notice

# Names of a group that are read at most, and groups inside each other.
_MAX_NAMES, _MAX_DEPTH = 10_000, 16
# What h5py raises for damaged files.
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


def open_hdf5(context: OpenContext) -> Table:
    """Open the datasets of an HDF5 file, named by their path in it.

    Raises:
        DataError: when the file is damaged, or a dataset keeps its values in other files.
    """
    path = context.path
    with _open(path) as file:
        fields = {field.name: field for field in _find_fields(file, "", path.name)}
        claimed = sum(file[name].nbytes for name in fields)
        check_expansion(path.name, claimed, lambda: file.id.get_filesize())
        context.skipped.open_notices += _notice_unwritten(file, fields, path.name)

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        with _open(path) as file:
            for part in split_rows(rows, size):
                arrays = {name: read_ascending(file[name], part, file[name].__getitem__) for name in names}
                yield Block(arrays, len(part))

    return Table(path.name, fields, read, random=True)


def _notice_unwritten(file: Any, names: Iterable[str], name: str) -> list[Notice]:
    """Name the datasets of which values were never written: they are read as zeros, or what else the file says."""
    h5d = import_optional("h5py", "hdf5", "an HDF5 file").h5d
    written = {name: file[name].id.get_space_status() for name in names if file[name].size}
    unwritten = [name for name, status in written.items() if status != h5d.SPACE_STATUS_ALLOCATED]
    return [unwritten_notice(name, unwritten)] if unwritten else []


@contextmanager
def _open(path: DataPath) -> Iterator[Any]:
    h5py = import_optional("h5py", "hdf5", "an HDF5 file")
    with (
        path.open("a readable HDF5 file") as file,
        refuse_damaged(path.name, "HDF5 file", _DAMAGED),
        h5py.File(file if path.remote else path.opened_by_path("a readable HDF5 file"), "r") as opened,
    ):
        yield opened


def _find_fields(group: Any, prefix: str, name: str) -> Iterator[Field]:
    h5py = import_optional("h5py", "hdf5", "an HDF5 file")
    for count, key in enumerate(group):
        # Soft and external links lead elsewhere, or round in a circle.
        if count > _MAX_NAMES or not isinstance(group.get(key, getlink=True), h5py.HardLink):
            continue
        member, path = group[key], f"{prefix}{key}"
        if isinstance(member, h5py.Group):
            # Hard links of groups can form a circle too, which a path without end would follow.
            if path.count("/") < _MAX_DEPTH:
                yield from _find_fields(member, f"{path}/", name)
        elif isinstance(member, h5py.Dataset) and member.dtype.kind in "biuf" and member.shape is not None:
            if member.external or member.is_virtual:
                raise DataError(
                    f"{name}: dataset {path!r} keeps its values in other files",
                    "values in the file itself; nothing else is read because a file says so",
                    "Copy it into one file with h5repack.",
                )
            yield Field(path, member.dtype, tuple(member.shape))
