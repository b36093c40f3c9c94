"""CSV files, read by pyarrow: a first line with the names of the columns, and one row per line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import (
    INTEGER,
    NUMBER,
    ArrowData,
    check_names,
    check_text_size,
    find_duplicate,
    pyarrow,
    refuse_damaged_by_pyarrow,
)
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError, Notice


def open_csv(context: OpenContext) -> Table:
    """Open a CSV file with a line of names; columns whose first value is a number are numbers, all others texts.

    Raises:
        DataError: when it is missing, damaged, too large for memory, or begins with a row.
    """
    pa, path = pyarrow(), context.path
    csv = import_optional("pyarrow.csv", "parquet", "a CSV file")
    names = _read_names(path, csv)
    context.skipped.open_notices += _doubt_names(path, names)
    with refuse_damaged_by_pyarrow(path, "CSV file"), path.open("a readable CSV file") as file:
        check_text_size(path, file)
        options = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, include_columns=names
        )
        table = csv.read_csv(file, parse_options=_parse_options(path, csv), convert_options=options)
    _check_quotes(path, table)
    table = pa.table({name: _to_numbers(table.column(name)) for name in names})
    texts = [name for name in names if pa.types.is_string(table.schema.field(name).type)]
    numbers = {name: dtype for name in texts if (dtype := _number_type(table.column(name))) is not None}
    # The first line holds the names; line breaks inside quotes make the count a lower bound.
    data = ArrowData.from_table(path.name, table, numbers=numbers, name_row=lambda row: f"line {row + 2}")
    return data.to_table(context)


def _parse_options(path: DataPath, csv: Any) -> Any:
    tabs = ".tsv" in path.name.lower()
    return csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)


def _read_names(path: DataPath, csv: Any) -> list[str]:
    with refuse_damaged_by_pyarrow(path, "CSV file"), path.open("a readable CSV file") as file:
        names: list[str] = csv.open_csv(file, parse_options=_parse_options(path, csv)).schema.names
    if _is_row_of_numbers(names):
        first = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise DataError(
            f"{path.name}: the first line holds numbers alone ({first}), and would be lost as names",
            "a first line with the names of the columns",
            "Write one before the rows, such as f1,f2,label.",
        )
    duplicate = find_duplicate(names)
    if duplicate is not None and re.match(NUMBER, duplicate):
        raise DataError(
            f"{path.name}: the first line holds {duplicate} twice, as a row of data may, which is lost",
            "a first line with the names of the columns",
            "Write one before the rows, such as f1,f2,label.",
        )
    check_names(path, names)
    return names


def _check_quotes(path: DataPath, table: Any) -> None:
    """Refuse a quote that is opened and not closed: it would swallow the lines up to the next quote, or the end.

    Quotes come in pairs but for a lone one inside an unquoted word, and only quoted values run over several lines.

    Raises:
        DataError: when their number is odd, and a value runs over several lines.
    """
    compute = pyarrow().compute
    with path.open("a readable CSV file") as file:
        quotes = sum(chunk.count(b'"') for chunk in iter(lambda: file.read(2**20), b""))
    if quotes % 2 == 0:
        return
    for name in table.schema.names:
        lines = compute.match_substring(table.column(name), "\n")
        if compute.any(lines).as_py():
            row = lines.index(True).as_py()
            raise DataError(
                f"{path.name} has an odd number of quotes, and a value of column {name!r} in row {row} spans lines",
                "two quotes around each value that holds a line break",
                "Close the quote.",
            )


def _is_row_of_numbers(names: Sequence[str]) -> bool:
    """Tell whether a first line holds numbers alone, other than those with which many programs name columns."""
    filled = [name for name in names if name.strip()]
    return bool(filled) and all(re.match(NUMBER, name) for name in filled) and not _is_count(filled)


def _doubt_names(path: DataPath, names: Sequence[str]) -> list[Notice]:
    """Say where a first line of names may be a row with a class in words: it holds numbers beside the words.

    Wavelengths or years beside the name of the label look alike, so that neither is refused.
    """
    numbers = [name for name in names if re.match(NUMBER, name)]
    if not numbers or _is_count(numbers):
        return []
    shown = ", ".join(numbers[:3]) + (", …" if len(numbers) > 3 else "")
    message = (
        f"The first line of {path.name} was read as the names of its columns, and some of them are numbers ({shown}). "
        "If it is a row of data, that row is missing: write a line of names before it."
    )
    return [Notice("numbers_as_names", message)]


def _is_count(names: Sequence[str]) -> bool:
    """Tell whether names count 0…n−1 or 1…n."""
    counts = [str(number) for number in range(len(names) + 1)]
    return list(names) in (counts[:-1], counts[1:])


def _to_numbers(texts: Any) -> Any:
    """Convert a column of texts to numbers, where each of them is one."""
    pa = pyarrow()
    for arrow_type in (pa.int64(), pa.float64()):
        try:
            return texts.cast(arrow_type)
        except pa.ArrowInvalid:
            continue
    return texts


def _number_type(texts: Any) -> np.dtype[Any] | None:
    """Return the type of a column of texts that begins with a number: integers if all its numbers are integers."""
    compute = pyarrow().compute
    if not len(texts) or not compute.match_substring_regex(texts[0], NUMBER).as_py():
        return None
    is_number, is_integer = (compute.match_substring_regex(texts, pattern) for pattern in (NUMBER, INTEGER))
    has_fractions = compute.any(compute.and_not(is_number, is_integer)).as_py()
    return np.dtype(np.float64 if has_fractions else np.int64)
