"""A head inside the body of a Scan is moved out of it, and the model computes what it computed before."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxrich.model import file as model
from onnxrich.model.head import head

RNG = np.random.default_rng(0)


def values(name: str, shape: list[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def weights(**shapes: tuple[int, ...]) -> list[TensorProto]:
    return [numpy_helper.from_array(RNG.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]


def recurrent(axis: int) -> onnx.ModelProto:
    """A recurrent network written as a Scan, with the head at every step inside its body."""
    nodes = [
        helper.make_node("MatMul", ["xt", "Wx"], ["a"]),
        helper.make_node("MatMul", ["before", "Wh"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "Wo", "bo"], ["f"], transB=1),
        helper.make_node("Softmax", ["f"], ["y"], axis=-1),
    ]
    inputs = [values("before", ["N", 8]), values("xt", ["N", 6])]
    outputs = [values("hidden", ["N", 8]), values("y", ["N", 3])]
    body = helper.make_graph(nodes, "body", inputs, outputs, weights(Wo=(3, 8)))
    scan = helper.make_node(
        "Scan", ["h0", "x"], ["last", "ys"], body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[axis]
    )
    start = helper.make_node("Relu", ["start"], ["h0"])
    given = [values("start", ["N", 8]), values("x", ["N", 5, 6])]
    outer = weights(Wx=(6, 8), Wh=(8, 8), bo=(3,))
    graph = helper.make_graph([start, scan], "recurrent", given, [values("ys", None)], outer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("axis", [0, 1])
def test_head_inside_a_scan(axis: int) -> None:
    """The head is found behind the Scan, and the outputs are the same to the bit."""
    proto = recurrent(axis)
    before = proto.SerializeToString()
    read = model.read_model(proto)
    assert proto.SerializeToString() == before
    found = head.find_head(read)
    assert (found.p, found.C, found.kind) == (8, 3, "MatMul+Add")
    rng = np.random.default_rng(1)
    feed = {name: rng.standard_normal(s).astype(np.float32) for name, s in (("start", (4, 8)), ("x", (4, 5, 6)))}
    expected, got = (
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for data in (before, read.data)
    )
    np.testing.assert_array_equal(got, expected)
