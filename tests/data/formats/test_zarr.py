"""Zarr: codecs that could run code are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import zarr
from data.formats.files import X, in_zarr
from zoo_text import read_all, refused, source_of, two_layers

from onnxrich.errors import DataError


def test_zarr_codecs(tmp_path: Path) -> None:
    """Codecs that could run code are refused, in both versions."""
    path = in_zarr(tmp_path)
    meta = json.loads((path / "x/zarr.json").read_text())
    meta["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    (path / "x/zarr.json").write_text(json.dumps(meta))
    with refused(DataError, "d.zarr"):
        source_of(two_layers(), path)
    group = zarr.create_group(tmp_path / "two.zarr", zarr_format=2)
    group.create_array("x", data=X)
    meta = json.loads((tmp_path / "two.zarr/x/.zarray").read_text())
    plain = json.dumps(meta)
    meta["filters"] = [{"id": "pickle", "protocol": 5}]
    (tmp_path / "two.zarr/x/.zarray").write_text(json.dumps(meta))
    with refused(DataError, "two.zarr is damaged or no Zarr array (No Zarr data type found that matches"):
        source_of(two_layers(), tmp_path / "two.zarr")
    meta = json.loads(plain)
    meta["filters"] = [{"id": "quantize", "digits": 2, "dtype": "<f4"}]
    (tmp_path / "two.zarr/x/.zarray").write_text(json.dumps(meta))
    with refused(DataError, "two.zarr: array 'x' is packed by codec 'quantize'; needed: one of "):
        source_of(two_layers(), tmp_path / "two.zarr")


def test_a_single_zarr_array(tmp_path: Path) -> None:
    """An array without a group fits a single input."""
    zarr.create_array(tmp_path / "d.zarr", data=X)
    np.testing.assert_array_equal(read_all(source_of(two_layers(), tmp_path / "d.zarr"), 5)[0]["x"], X)


def test_chunks_that_are_missing(tmp_path: Path) -> None:
    """A notice names arrays of which chunks are missing; more of these than the files can hold are refused."""
    group = zarr.create_group(tmp_path / "d.zarr")
    group.create_array("x", data=X, chunks=(10, 6))
    (tmp_path / "d.zarr/x/c/1/0").unlink()
    source = source_of(two_layers(), tmp_path / "d.zarr")
    assert [notice.code for notice in source.skipped.notices()] == ["parts_filled_in"]
    assert not read_all(source, 5)[0]["x"][10:20].any()
    zarr.create_group(tmp_path / "huge.zarr").create_array("x", shape=(10**12, 6), chunks=(1000, 6), dtype="f4")
    with refused(
        DataError, "huge.zarr has ", "and claims to unpack to 24,000,000,000,000; needed: at most 1,000 times"
    ):
        source_of(two_layers(), tmp_path / "huge.zarr")


def test_chunks_without_a_value(tmp_path: Path) -> None:
    """Missing chunks of an array without a fill value have no values: zarr would return what is in the memory."""
    group = zarr.create_group(tmp_path / "d.zarr", zarr_format=2)
    group.create_array("x", data=X, chunks=(10, 6))
    meta = json.loads((tmp_path / "d.zarr/x/.zarray").read_text())
    (tmp_path / "d.zarr/x/.zarray").write_text(json.dumps(meta | {"fill_value": None}))
    source_of(two_layers(), tmp_path / "d.zarr")
    (tmp_path / "d.zarr/x/1.0").unlink()
    with refused(DataError, "d.zarr has no file for some chunks of 'x', and no value that fills them"):
        source_of(two_layers(), tmp_path / "d.zarr")
