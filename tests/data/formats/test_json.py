"""JSON: arrays that are no tables, and keys of later objects."""

from __future__ import annotations

import json
from pathlib import Path

from data.formats.files import X
from zoo_text import build, read_all, refused, source_of, two_layers

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
