"""CSV: the line of names, and numbers in text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data.formats.files import X, save, scalars
from zoo_text import read_all, refused, source_of, table_of, two_layers

from onnxrich.errors import DataError


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value in column 'f2'"), ("x", "'x' in column 'f2', which is no number"),
        ("1,5", "'1,5' in column 'f2', which is no number"), ("1 2", "'1 2' in column 'f2', which is no number"),
    ],
)  # fmt: skip
def test_bad_numbers_in_text(value: Any, reason: str, tmp_path: Path) -> None:
    """A value that is no number stops the run with its line, or is left out and counted: it never becomes NaN."""
    columns = scalars(y=np.arange(23))
    texts: list[Any] = [str(number) for number in columns["f2"]]
    texts[17] = value
    path = save("tsv", tmp_path, columns | {"f2": pa.array(texts, pa.string())})
    with refused(DataError, f"d.tsv, line 19: {reason}; needed: items that can be read."):
        read_all(source_of(two_layers(), path), 5)
    source = source_of(two_layers(), path, reading={"max_errors": 1})
    batches = list(source.batches(5))
    np.testing.assert_array_equal(np.concatenate([batch.inputs["x"] for batch in batches]), np.delete(X, 17, axis=0))
    assert np.concatenate([batch.labels for batch in batches if batch.labels is not None]).tolist() == [
        *range(17), *range(18, 23)
    ]  # fmt: skip
    (notice,) = source.skipped.notices()
    assert notice.message == "1 items could not be read and were left out: d.tsv, line 19."


@pytest.mark.parametrize("text", ["1", "-2", "+3", " 4 ", "5.5", "-.5", "6e3", "7.", "nan", "-Infinity", "1E-3"])
def test_numbers_in_text(text: str, tmp_path: Path) -> None:
    """Whatever is a number is read as one, also beside others that are none."""
    (tmp_path / "d.csv").write_text(f"a,b\n0.5,1\n{text},2\nbad,3\n")
    table = table_of(tmp_path / "d.csv", max_errors=1)
    (block,) = table.read(["a"], range(3), 10)
    np.testing.assert_array_equal(block.arrays["a"], [0.5, float(text)])
    assert block.readable is not None and block.readable.tolist() == [True, True, False]


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Two columns of a name are refused."""
    (tmp_path / "d.csv").write_text("a,b,a\n1,2,3\n")
    with refused(DataError, "d.csv has two columns 'a'; needed: a name for each column. Rename one of them."):
        table_of(tmp_path / "d.csv")


def test_a_number_twice_is_no_name(tmp_path: Path) -> None:
    """A row with a class in words that repeats a number is told as a row, not as two columns of a name."""
    (tmp_path / "d.csv").write_text("5.1,3.5,3.5,setosa\n4.9,3.0,1.4,setosa\n")
    with refused(DataError, "d.csv: the first line holds 3.5 twice, as a row of data may", "Write one before the rows"):
        table_of(tmp_path / "d.csv")


@pytest.mark.parametrize("first", ["0,1,2", "1,2,3", ",0,1,2", "0", "1"])
def test_numbers_of_columns_are_names(first: str, tmp_path: Path) -> None:
    """Many programs name columns by their numbers; an index before them has no name."""
    count = len(first.split(","))
    (tmp_path / "d.csv").write_text(f"{first}\n{','.join('7' * count)}\n")
    assert list(table_of(tmp_path / "d.csv").fields) == first.split(",")


@pytest.mark.parametrize(
    "first",
    [
        "5.1,3.5,1", "2,1,0", " 1 ,-2e-3,1", "1,,1", "nan,1,inf", "1,2,4,8,16", "0.1,0.2,0.4,0.7,0.9", "2,4,6,8",
        "9.1,7.5,4.2,2.1,0.3", "7", "1,2,inf,inf,inf", "1,1,1,1,1", "0.1,0.2,0.3,0.4,0.5", "2024,2023,2022,2021,2020",
        "1100.5,1102.5,1104.5,1106.5,1108.5", "0,1,2,4", "0.0,1.0,2.0",
    ],
)  # fmt: skip
def test_rows_without_names(first: str, tmp_path: Path) -> None:
    """A first line of numbers alone is a row, which must not be lost."""
    path = tmp_path / "d.csv"
    path.write_text(f"{first}\n{','.join('7' * len(first.split(',')))}\n")
    shown = ", ".join(first.split(",")[:3]) + (", …" if first.count(",") > 2 else "")
    with refused(
        DataError,
        f"d.csv: the first line holds numbers alone ({shown}), and would be lost as names; needed: a first line with "
        "the names of the columns. Write one before the rows, such as f1,f2,label.",
    ):
        table_of(path)


@pytest.mark.parametrize(
    "first",
    [
        "country,1990,1991,1992", ",0,1,2,label", "label,1,2,5", "a,b,1.5", "1,,label", "0,1,2,name",
        "1100.5,1102.5,1104.5,label", "country,1992,1991,1990", "0.25,0.5,0.75,y", "0.05,0.25,0.5,0.75,0.95,label",
        "339.78,340.18,340.59,340.99,341.4,y", "9,7,2,setosa", " 2 ,\t1,a", "nan,1,a",
    ],
)  # fmt: skip
def test_names_with_numbers(first: str, tmp_path: Path) -> None:
    """A single word makes the first line one of names: years and wavelengths stand beside the name of a label."""
    count = len(first.split(","))
    (tmp_path / "d.csv").write_text(f"{first}\n{','.join('7' * count)}\n")
    assert list(table_of(tmp_path / "d.csv").fields) == first.split(",")


@pytest.mark.parametrize(
    ("first", "shown"),
    [
        ("5.1,3.5,1.4,0.2,2,1,setosa", "5.1, 3.5, 1.4, …"), ("1990,b,c,d,e,f,y", "1990"), ("0,1,2,3,4,5,y", None),
        ("1,2,3,4,5,6,y", None), ("a,b,c,d,e,f,y", None),
    ],
)  # fmt: skip
def test_numbers_as_names_are_told(first: str, shown: str | None, tmp_path: Path) -> None:
    """A row with its class in words looks like names: what was read as names is shown, unless it counts columns."""
    (tmp_path / "d.csv").write_text(f"{first}\n1.5,2.5,3.5,4.5,5.5,6.5,0\n6.5,5.5,4.5,3.5,2.5,1.5,1\n")
    source = source_of(two_layers(), tmp_path / "d.csv", first.split(",")[-1])
    notices = {notice.code: notice.message for notice in source.skipped.notices()}
    assert ("numbers_as_names" in notices) == (shown is not None)
    assert shown is None or f"some of them are numbers ({shown}). If it is a row" in notices["numbers_as_names"]


def test_lines_of_different_length(tmp_path: Path) -> None:
    """A line with another number of values is refused with its place."""
    (tmp_path / "d.csv").write_text("a,b\n1,2\n3\n")
    with refused(DataError, "d.csv is damaged or no CSV file (CSV parse error: Expected 2 columns, got 1: 3)"):
        table_of(tmp_path / "d.csv")


@pytest.mark.parametrize("rest", ['"cat\n2,dog\n3,ant\n', '"cat\n2,dog\n3,"ant"\n'])
def test_quote_that_is_not_closed(rest: str, tmp_path: Path) -> None:
    """A quote that is opened and not closed swallows the lines behind it: they would be missing."""
    (tmp_path / "d.csv").write_text(f"x,label\n0,ant\n1,{rest}")
    with refused(DataError, "d.csv has an odd number of quotes, and a value of column 'label' in row 1 spans lines"):
        table_of(tmp_path / "d.csv")


@pytest.mark.parametrize("text", ['5" disk', '"5"" disk\nof metal"'])
def test_quotes_of_honest_files(text: str, tmp_path: Path) -> None:
    """A lone quote inside a word, and line breaks inside quotes, are read."""
    (tmp_path / "d.csv").write_text(f"x,label\n0,ant\n1,{text}\n2,bee\n")
    assert table_of(tmp_path / "d.csv").read_field("label").tolist()[::2] == ["ant", "bee"]
