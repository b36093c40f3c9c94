"""Constants are folded to the values that the runtime computes, and no file makes large ones."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from onnxrich.errors import ModelError
from onnxrich.model.constants import dequantize
from onnxrich.model.file import read_model
from onnxrich.model.graph import Graph

INTEGERS = np.arange(12, dtype=np.int8).reshape(2, 6)


@pytest.mark.parametrize(
    ("scale", "zero", "axis", "expected"),
    [
        (np.float32(0.5), np.int8(1), 1, (INTEGERS - 1.0) * 0.5),
        (np.float32([0.5, 0.25]), np.int8([1, 2]), 0, (INTEGERS - [[1.0], [2.0]]) * [[0.5], [0.25]]),
        (np.float32([0.5, 0.25]), np.int8(0), -2, INTEGERS * np.array([[0.5], [0.25]])),
        (np.float32([[1, 2], [3, 4]]), np.int8(0), 1, INTEGERS * np.repeat([[1.0, 2], [3, 4]], 3, axis=1)),
    ],
    ids=["one", "a slice", "a slice of a negative axis", "a block"],
)
def test_dequantized(scale: np.ndarray, zero: np.ndarray, axis: int, expected: np.ndarray) -> None:
    """A scale holds for all values, for a slice or for a block of an axis; the result has its type."""
    values = dequantize(INTEGERS, scale, zero, axis)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


def graph_of(body: str, weights: str) -> Graph:
    """The graph of a model whose output is computed by these lines from x and weights."""
    text = f'<ir_version: 9, opset_import: ["" : 17]> g (float[N, 2] x) => (float[N, 2] y) <{weights}> {{ {body} }}'
    return Graph(read_model(parser.parse_model(text)))


def test_folded() -> None:
    """A tensor is constant when foldable operators compute it from initializers alone."""
    graph = graph_of(
        "t = Transpose(w) s = Mul(t, two) r = Relu(s) m = MatMul(x, s) y = Add(m, x)",
        "float[2, 2] w = {1, 2, 3, 4}, float two = {2}",
    )
    assert [graph.is_constant(name) for name in ("w", "t", "s", "r", "m", "x", "")] == [True] * 3 + [False] * 4
    np.testing.assert_array_equal(graph.constant("s"), [[2, 6], [4, 8]])


def test_small_files_make_no_large_constants() -> None:
    """A constant that would be much larger than the file is refused before it is computed."""
    graph = graph_of("e = Expand(one, shape) y = Add(x, x)", "float[1] one = {1}, int64[2] shape = {100000, 100000}")
    assert graph.is_constant("e")
    with pytest.raises(
        ModelError, match=r"Constant 'e' would have 1e\+10 elements; needed: at most 16,777,216, twice as"
    ):
        graph.constant("e")


def test_weights_that_do_not_fit() -> None:
    """Constants whose shapes don't fit together are an error of the model."""
    graph = graph_of("m = MatMul(a, b) y = Add(x, x)", "float[2] a = {1, 2}, float[3] b = {1, 2, 3}")
    with pytest.raises(ModelError, match=r"Constant 'm' can't be computed \(TypeError\)"):
        graph.constant("m")
