"""Inputs that are weights become initializers; what nothing reads is left out."""

from __future__ import annotations

import numpy as np
import onnx

from onnxrich.frameworks.weight_inputs import bind_weights

MODEL = """
<ir_version: 8, opset_import: ["" : 18]>
made (float[unk__1, 2] x, float[2, 3] kernel, float[3] bias, float[3] idle, bool which)
=> (float[n, 3] a, float[n, 3] b)
<float[1] lost = {1}> {
    a = MatMul(x, kernel)
    b = If(which) <
        then_branch = then () => (float[n, 3] left) { left = Add(a, bias) },
        else_branch = other () => (float[n, 3] right) { right = Identity(a) }
    >
}
"""


def test_bind_weights() -> None:
    """Weights that a branch reads are kept, what nothing reads is not; outputs are ordered, the input is unchanged."""
    model = onnx.parser.parse_model(MODEL)
    before = model.SerializeToString()
    weights = {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32), "idle": np.ones(3, np.float32)}
    bound = bind_weights(model, weights, ["b", "a"])
    onnx.checker.check_model(bound, full_check=True)
    assert model.SerializeToString() == before
    assert [value.name for value in bound.graph.input] == ["x", "which"]
    assert [value.name for value in bound.graph.output] == ["b", "a"]
    assert {tensor.name: tuple(tensor.dims) for tensor in bound.graph.initializer} == {"kernel": (2, 3), "bias": (3,)}
    assert bound.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
