"""JSON: arrays that are no tables, and keys of later objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data.formats.files import X
from zoo_text import build, read_all, refused, source_of, table_of, two_layers, within

from onnxrich.errors import DataError


def test_json_that_is_no_table(tmp_path: Path) -> None:
    """An array of numbers is no table."""
    (tmp_path / "d.json").write_text("[1, 2, 3]")
    with refused(DataError, "d.json is damaged or no JSON file (an array of something else than objects); needed"):
        source_of(two_layers(), tmp_path / "d.json")


def test_json_keys_of_later_objects(tmp_path: Path) -> None:
    """A key that the first object lacks is a column, and the first row lacks a value there."""
    rows = [{"x": X[row].tolist()} | ({"label": row} if row else {}) for row in range(3)]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    with refused(DataError, "d.json, object 1: no value in column 'label'"):
        read_all(source_of(build("h = Cast<to = 1>(x)", x="double[N,6] x", y="float[N,6] h"), tmp_path / "d.json"), 4)


LINE = json.dumps({"x": X[0].tolist(), "y": 1})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        # pyarrow 25 crashes on the first two, and works for hours on the third.
        ("d.json", "null", "line 1 is no object"),
        ("d.jsonl", f"null\n{LINE}\n", "line 1 is no object"),
        ("d.jsonl", '{"x":' + "[" * 6000 + "1" + "]" * 6000 + "}\n", "more than 128 lists inside each other"),
        ("d.json", '[{"x":' + "[" * 900 + "1" + "]" * 900 + "}]", "more than 128 lists inside each other"),
        ("d.json", f'[{LINE[:-1]}, "y": 2}}]', "an object holds a name twice"),
        ("d.json", '[{"y": 99999999999999999999}]', "Python int too large"),
        ("d.json", json.dumps([{f"k{at}": 1} for at in range(5000)]), "objects with different names"),
    ],
)
def test_json_beyond_its_reader(name: str, text: str, message: str, tmp_path: Path) -> None:
    """What crashes or hangs pyarrow, fills the memory, or has two meanings is refused before."""
    (tmp_path / name).write_text(text)
    with within(60), refused(DataError, f"{name} is damaged or no JSON file ({message}"):
        source_of(two_layers(), tmp_path / name)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_brackets_in_texts(kind: str, tmp_path: Path) -> None:
    """Brackets in texts are no lists, however many there are."""
    rows = [{"text": ':-[ \\" ' * 200, "label": row % 2} for row in range(4)]
    (tmp_path / f"d.{kind}").write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    assert set(table_of(tmp_path / f"d.{kind}").fields) == {"text", "label"}
