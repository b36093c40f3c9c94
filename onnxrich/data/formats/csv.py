"""CSV, by pyarrow: a line with the names of the columns, and a row a line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.columns import INTEGER, NUMBER, arrow, check_size, of_memory, reading, table_of
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError

# Numbers that hardly rise or fall all the way by chance: of five that are drawn independently one in sixty does.
_MANY = 5


def open_csv(request: OpenContext) -> Table:
    """A CSV file with a line of names; columns whose first value is a number are numbers, all others texts.

    Raises:
        DataError: when it is missing, damaged, or larger than memory is trusted with, or begins with a row.
    """
    pa, place = arrow(), request.place
    csv = import_optional("pyarrow.csv", "parquet", "a CSV file")
    names = _names(place, csv)
    with reading(place, "CSV"), place.open("a readable CSV file") as file:
        check_size(place, file)
        table = csv.read_csv(
            file,
            parse_options=_format(place, csv),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, include_columns=names
            ),
        )
    table = pa.table({name: _numbers(table.column(name)) for name in names})
    texts = [name for name in names if pa.types.is_string(table.schema.field(name).type)]
    numbers = {name: kind for name in texts if (kind := _number_type(table.column(name))) is not None}
    # The first line holds the names; lines inside quotes make the count a lower bound.
    return table_of(of_memory(place.name, table, numbers=numbers, line=lambda row: f"line {row + 2}"), request)


def _format(place: DataPath, csv: Any) -> Any:
    tabs = ".tsv" in place.name.lower()
    return csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True)


def _names(place: DataPath, csv: Any) -> list[str]:
    with reading(place, "CSV"), place.open("a readable CSV file") as file:
        names: list[str] = csv.open_csv(file, parse_options=_format(place, csv)).schema.names
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

    Columns without names of their own are often numbered from 0 or 1. Those beside others that have some may bear
    years, sizes or wavelengths, which rise or fall. So do a few numbers of a row by chance, as those of the first iris,
    5.1, 3.5, 1.4, 0.2: unless they are whole and rise, they are names where they have equal steps or are many.
    """
    numbers = [name for name in names if re.match(NUMBER, name)]
    if not numbers or 2 * len(numbers) < len(names):
        return False
    steps = [float(b) - float(a) for a, b in pairwise(numbers)]
    rise = all(0 < step < math.inf for step in steps)
    monotone = rise or all(-math.inf < step < 0 for step in steps)
    even, many = all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps), len(numbers) >= _MANY
    if len(numbers) == len(names):
        counted = [str(at) for at in range(len(names) + 1)]
        return numbers not in (counted[:-1], counted[1:]) and not (monotone and even and many)
    whole = all(re.match(INTEGER, name) for name in numbers)
    return not ((rise and whole) or (monotone and (many or (even and len(numbers) > 2))))


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
