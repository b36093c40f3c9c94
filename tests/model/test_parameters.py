"""‖θ‖² of a model is the sum of squares of what its weights stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxrich.model import file as models
from onnxrich.model.parameters import squared_norm

PLAIN = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, -1},
 float[2] mean = {9, 9}, float[2] var = {9, 9}, int64[1] axis = {7}>
{
  f = MatMul(x, w)
  g = Add(f, b)
  y = BatchNormalization(g, b, b, mean, var)
}
"""
QUANTIZED = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 2] y)
<int8[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] scale = {0.5, 0.25}, int8[2] zero = {1, 2}>
{
  d = DequantizeLinear<axis = 1>(w, scale, zero)
  y = MatMul(x, d)
}
"""
INTEGER = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (int32[N, 2] y)
<uint8[3, 2] w = {1, 2, 3, 4, 5, 6}>
{
  q, s, z = DynamicQuantizeLinear(x)
  y = MatMulInteger(q, w, z)
}
"""


def read(text: str) -> models.Model:
    return models.read_model(parser.parse_model(text))


def test_floats() -> None:
    """Weights and biases count, once each; statistics of batch normalisation and indices don't."""
    assert squared_norm(read(PLAIN), external=False) == 1 + 4 + 9 + 16 + 25 + 36 + 1 + 1


def test_quantized_weights_count_as_what_they_stand_for() -> None:
    """(w − zero)·scale by column; scales and zero points themselves don't count."""
    values = (np.array([[1, 2], [3, 4], [5, 6]]) - [1, 2]) * [0.5, 0.25]
    assert squared_norm(read(QUANTIZED), external=False) == np.sum(values**2)


def test_unknown_scales_give_none() -> None:
    """Integers whose scale is computed from the input stand for nothing that is known."""
    assert squared_norm(read(INTEGER), external=False) is None


def test_linear_operators_on_quantized_weights() -> None:
    """QLinearMatMul has one scale a column."""
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (uint8[N, 2] x, float xs, uint8 xz) => (uint8[N, 2] y)
    <int8[2, 2] w = {1, 2, 3, 4}, float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 1}>
    {
      y = QLinearMatMul(x, xs, xz, w, ws, wz, xs, xz)
    }
    """
    values = (np.array([[1, 2], [3, 4]]) - [0, 1]) * [0.5, 0.25]
    assert squared_norm(read(text), external=False) == np.sum(values**2)


def test_external_weights_are_read_on_demand(tmp_path: Path) -> None:
    """Weights outside the file are left alone, unless they are asked for."""
    proto = parser.parse_model(PLAIN)
    large = np.random.default_rng(0).standard_normal((3, 2 * 4096)).astype(np.float32)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "w"))
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="weights", size_threshold=1024)
    read = models.read_model(path)
    assert squared_norm(read, external=False) is None
    expected = np.sum(large.astype(np.float64) ** 2) + 2
    assert squared_norm(read, external=True) == pytest.approx(expected, rel=1e-12)
