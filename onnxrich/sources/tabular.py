"""Parquet, Arrow, CSV and JSON, by pyarrow: columns named as the model's inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.extras import required
from onnxrich.sources.arrow import INTEGER, NUMBER, Rowset, arrow, of_memory, recut, table_of
from onnxrich.sources.places import Place
from onnxrich.sources.request import Request
from onnxrich.sources.table import MOST_UNPACKED, SCAN, Rows, Table


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
        with _reading(part, "Parquet"), part.open("a readable Parquet file") as file:
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
        with _reading(place, "Parquet"), place.open("a readable Parquet file") as file:
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
    with _reading(place, "Arrow"):
        with place.open("a readable Arrow file") as file:
            start = file.read(6)
            remote = file.read() if place.remote else b""
        buffer = pa.BufferReader(start + remote) if place.remote else pa.memory_map(place.url)
        opened = pa.ipc.open_file(buffer) if start == b"ARROW1" else pa.ipc.open_stream(buffer)
        table = opened.read_all()
        table.validate(full=True)
        _check_names(table.schema)
        return table


def open_csv(request: Request) -> Table:
    """A CSV file with a line of names; columns whose first value is a number are numbers, all others texts.

    Raises:
        DataError: when it is missing, damaged, or larger than memory is trusted with, or begins with a row.
    """
    pa, place = arrow(), request.place
    csv = required("pyarrow.csv", "parquet", "a CSV file")
    names = _csv_names(place, csv)
    with _reading(place, "CSV"), place.open("a readable CSV file") as file:
        _check_size(place, file)
        table = csv.read_csv(
            file,
            parse_options=_csv_format(place, csv),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, include_columns=names
            ),
        )
    table = pa.table({name: _numbers(table.column(name)) for name in names})
    texts = [name for name in names if pa.types.is_string(table.schema.field(name).type)]
    numbers = {name: kind for name in texts if (kind := _number_type(table.column(name))) is not None}
    # The first line holds the names; lines inside quotes make the count a lower bound.
    return table_of(of_memory(place.name, table, numbers=numbers, line=lambda row: f"line {row + 2}"), request)


def _csv_format(place: Place, csv: Any) -> Any:
    tabs = ".tsv" in place.name.lower()
    return csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)


def _csv_names(place: Place, csv: Any) -> list[str]:
    with _reading(place, "CSV"), place.open("a readable CSV file") as file:
        names: list[str] = csv.open_csv(file, parse_options=_csv_format(place, csv)).schema.names
    told = [name for name in names if name.strip()]
    if _is_row(told):
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        alone = " alone" if all(re.match(NUMBER, name) for name in told) else ""
        raise DataError(
            f"{place.name}: the first line holds numbers{alone} ({some}), and would be lost as names",
            "a first line with the names of the columns",
            "Write one before the rows, such as f1,f2,label.",
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{place.name} has two columns {twice!r}", "a name for each column", "Rename one of them.")
    return names


def _is_row(names: Sequence[str]) -> bool:
    """Whether the first line of a table looks like a row: half of it at least is numbers, which number no columns.

    Columns without names of their own are often numbered from 0 or 1, and those beside others that have some may bear
    years or sizes, which ascend.
    """
    numbers = [name for name in names if re.match(NUMBER, name)]
    if not numbers or 2 * len(numbers) < len(names):
        return False
    if len(numbers) == len(names):
        counted = [str(at) for at in range(len(names) + 1)]
        return numbers not in (counted[:-1], counted[1:])
    whole = [int(name) for name in numbers if re.match(INTEGER, name)]
    return len(whole) < len(numbers) or any(a >= b for a, b in pairwise(whole))


def _numbers(texts: Any) -> Any:
    """A column of texts as numbers, where each of them is one; else as it is."""
    pa = arrow()
    for kind in (pa.int64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def _number_type(texts: Any) -> np.dtype[Any] | None:
    """The type of a column of texts that begins with a number: integers if all that are numbers are such."""
    pa = arrow()
    if not len(texts) or not pa.compute.match_substring_regex(texts[0], NUMBER).as_py():
        return None
    number, whole = (pa.compute.match_substring_regex(texts, pattern) for pattern in (NUMBER, INTEGER))
    fraction = pa.compute.any(pa.compute.and_not(number, whole)).as_py()
    return np.dtype(np.float64 if fraction else np.int64)


def open_json(request: Request) -> Table:
    """JSON: an object a line, or one array of objects.

    Raises:
        DataError: when it is missing, damaged, or larger than memory is trusted with.
    """
    place = request.place
    with _reading(place, "JSON"), place.open("a readable JSON file") as file:
        _check_size(place, file)
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


def _check_size(place: Place, file: Any) -> None:
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
def _reading(place: Place, kind: str) -> Iterator[None]:
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
