"""Exports are checked on a few rows, and refused where they differ from the framework."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fake_plugin import FAKE, install
from onnx import parser

import onnxrich
from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.parity import example_rows, measure_deviation
from onnxrich.model.file import read_model

# Two nodes of float32, so that rounding explains √(4096 · 2) · eps.
DOUBLE = (
    '<ir_version: 8, opset_import: ["" : 18]> g (float[n, 2] x) => (float[n, 2] y) { h = Identity(x) y = Add(h, x) }'
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('BATCH, SCALE = "N"', "BATCH, SCALE = 4"), r"input 'x' of the exported model takes only batches of 4 rows"),
        (('"N", 1.0', '"N", 1.001'), r"the ONNX model of Model differs from fake 1.0 by 1\.0e-03; needed: at most"),
    ],
)
def test_wrong_export(site: Path, change: tuple[str, str], message: str) -> None:
    """An export with a fixed batch size, or with other outputs than the framework's, is refused."""
    install(site, "fake", FAKE.replace(*change))
    import fake  # type: ignore[import-not-found]

    rows = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    with pytest.raises(AdapterError, match=message):
        onnxrich.run(fake.load(Path("a.fake")), [(rows, np.zeros(8, np.int64))])


@pytest.mark.parametrize(("count", "expected"), [(1, [0, 0]), (3, [0, 1, 2]), (9, [0, 1, 2, 3])])
def test_example_rows(count: int, expected: list[int]) -> None:
    """Two to four rows without labels are taken, repeated where there is one; a scalar stays as it is."""
    item = {"x": np.arange(count), "temperature": np.array(0.5), "labels": np.arange(count)}
    rows = example_rows(item)
    assert set(rows) == {"x", "temperature"}
    np.testing.assert_array_equal(rows["x"], expected)
    assert rows["temperature"] == 0.5


def test_example_without_rows() -> None:
    """An item without rows is an error."""
    with pytest.raises(DataError, match="an item of the data has no rows"):
        example_rows({"x": np.zeros((0, 2))})


def test_deviation() -> None:
    """The deviation is relative to the largest output, infinite for another shape, and rounding is allowed."""
    model, rows = read_model(parser.parse_model(DOUBLE)), {"x": np.ones((2, 2), np.float32)}

    def deviation(scale: float, shape: slice = slice(None)) -> tuple[float, bool]:
        result = measure_deviation(model, lambda batch: [(scale * batch["x"])[:, shape]], rows)
        assert result.allowed == math.sqrt(4096 * 2) * np.finfo(np.float32).eps
        return result.error, result.is_rounding

    assert deviation(2.0) == (0.0, True)
    assert deviation(4.0) == (0.5, False)
    assert deviation(2.0, slice(1)) == (math.inf, False)
    assert deviation(math.nan) == (math.inf, False)
