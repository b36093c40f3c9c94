"""Parquet, Arrow and JSON, by pyarrow: columns named as the model's inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from onnxrich._utils.optional import required
from onnxrich.data.context import Request
from onnxrich.data.formats.columns import Rowset, arrow, of_memory, recut, table_of
from onnxrich.data.paths import Place
from onnxrich.data.table import MOST_UNPACKED, SCAN, Rows, Table
from onnxrich.errors import DataError


def open_parquet(request: Request) -> Table:
    """A Parquet file, or a folder of such, read row group by row group.

    Raises:
        DataError: when a file is missing or damaged, or they have different columns.
    """
    place = request.place
    places = parts_of(place, ".parquet") if place.is_folder() else [place]
    counts: list[int] = []
    schema: Any = None
    for part in places:
        with reading(part, "Parquet"), part.open("a readable Parquet file") as file:
            opened = _parquet(file)
            counts.append(opened.metadata.num_rows)
            if schema is not None and not opened.schema_arrow.equals(schema):
                raise DataError(f"{part.name} has other columns than {places[0].name}", "files alike", "Pass one file.")
            schema = opened.schema_arrow
            _check_names(schema)
    starts = np.concatenate([[0], np.cumsum(counts)])

    n = int(starts[-1])

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Any]:
        if isinstance(rows, range):
            return recut(_row_groups(places, starts, names, rows, size), rows, size)
        whole = _in_memory(_row_groups(places, starts, names, range(n), SCAN), place.name)
        return of_memory(place.name, whole).read(names, rows, size)

    rowset = Rowset(
        place.name, schema, n, read, random=True, classes=hub_classes(schema), numbers={}, line=lambda row: f"row {row}"
    )
    return table_of(rowset, request)


def _in_memory(tables: Iterator[Any], name: str) -> Any:
    """Arrow tables as one, for rows in any order.

    Raises:
        DataError: when they are larger than memory is trusted with: metadata of some kilobytes can claim any size.
    """
    held, size = [], 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size > MOST_UNPACKED:
            raise DataError(
                f"{name} unpacks to more than {MOST_UNPACKED:,} bytes",
                "less, to draw rows from at random",
                "Leave out --shuffle and --balanced.",
            )
    return arrow().concat_tables(held)


def _parquet(file: Any) -> Any:
    return required("pyarrow.parquet", "parquet", "a Parquet file").ParquetFile(file)


def _row_groups(places: Sequence[Place], starts: Any, names: Sequence[str], rows: range, size: int) -> Iterator[Any]:
    """Arrow tables of consecutive rows, from the first one that is asked for."""
    for place, start in zip(places, starts, strict=False):
        with reading(place, "Parquet"), place.open("a readable Parquet file") as file:
            opened = _parquet(file)
            for group in range(opened.num_row_groups):
                stop = start + opened.metadata.row_group(group).num_rows
                if start < rows.stop and stop > rows.start:
                    at = int(start)
                    for batch in opened.iter_batches(size, row_groups=[group], columns=list(names)):
                        table = arrow().Table.from_batches([batch])
                        skipped = max(0, rows.start - at)
                        at += batch.num_rows
                        if skipped < batch.num_rows:
                            yield table.slice(skipped)
                start = stop


def open_arrow(request: Request) -> Table:
    """A file of Arrow's IPC format, of either kind; a local one is mapped into memory.

    Raises:
        DataError: when it is missing or damaged.
    """
    place = request.place
    table = read_ipc(place)
    return table_of(of_memory(place.name, table, classes=hub_classes(table.schema)), request)


def read_ipc(place: Place) -> Any:
    """The Arrow table of an IPC file, which is mapped, not read, where it is local and not compressed."""
    pa = arrow()
    with reading(place, "Arrow"):
        with place.open("a readable Arrow file") as file:
            start = file.read(6)
            remote = file.read() if place.remote else b""
        buffer = pa.BufferReader(start + remote) if place.remote else pa.memory_map(place.url)
        opened = pa.ipc.open_file(buffer) if start == b"ARROW1" else pa.ipc.open_stream(buffer)
        table = opened.read_all()
        table.validate(full=True)
        _check_names(table.schema)
        return table


def open_json(request: Request) -> Table:
    """JSON: an object a line, or one array of objects.

    Raises:
        DataError: when it is missing, damaged, or larger than memory is trusted with.
    """
    place = request.place
    with reading(place, "JSON"), place.open("a readable JSON file") as file:
        check_size(place, file)
        first = file.read(64).lstrip(b"\xef\xbb\xbf").lstrip()[:1]
        file.seek(0)
        if first == b"[":
            table = _of_objects(json.loads(file.read()))
        else:
            table = required("pyarrow.json", "parquet", "a JSON file").read_json(file)
        _check_names(table.schema)
    return table_of(of_memory(place.name, table, line=lambda row: f"object {row + 1}"), request)


def _of_objects(rows: list[Any]) -> Any:
    """A table of objects, with a column for each key of any of them."""
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("an array of something else than objects")
    names = dict.fromkeys(name for row in rows for name in row)
    return arrow().table({name: [row.get(name) for row in rows] for name in names})


def check_size(place: Place, file: Any) -> None:
    """Refuse a file of text that is larger than memory is trusted with."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > MOST_UNPACKED:
        raise DataError(
            f"{place.name} has {size:,} bytes of text",
            f"at most {MOST_UNPACKED:,}, which are read into memory",
            "Save it as Parquet, which is read as it is used.",
        )


def _check_names(schema: Any) -> None:
    """Names of columns must be text: pyarrow decodes them only when they are asked for, and raises then."""
    for field in schema:
        _ = field.name


@contextmanager
def reading(place: Place, kind: str) -> Iterator[None]:
    """Turns what pyarrow raises for damaged files into a DataError."""
    pa = arrow()
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{place.name} is damaged or no {kind} file ({reason})", f"a whole {kind} file", "Save or copy it again."
        ) from error


def parts_of(folder: Place, ending: str) -> list[Place]:
    """The files of an ending below a folder, in the order of their names.

    Raises:
        DataError: when there are none.
    """
    names = [name for name in folder.walk() if name.lower().endswith(ending)]
    if not names:
        raise DataError(f"{folder.name} holds no {ending} files", "at least one", "Pass the folder that holds them.")
    return [folder.child(name) for name in names]


def hub_classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Names of classes, as Hugging Face's libraries write them into the schema of Parquet and Arrow files."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return classes_in(info["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def classes_in(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of classes by column, from the features of a data set of Hugging Face."""
    named = {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    return {
        name: tuple(map(str, feature["names"]))
        for name, feature in named.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
