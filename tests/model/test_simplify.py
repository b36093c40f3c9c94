"""A head inside the body of a Scan or the branches of an If is moved out, and the model computes what it did before."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxrich.errors import HeadError
from onnxrich.model.file import read_model
from onnxrich.model.head.head import Head, find_head

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
    body_inputs = [values("before", ["N", 8]), values("xt", ["N", 6])]
    body_outputs = [values("hidden", ["N", 8]), values("y", ["N", 3])]
    body = helper.make_graph(nodes, "body", body_inputs, body_outputs, weights(Wo=(3, 8)))
    scan = helper.make_node(
        "Scan", ["h0", "x"], ["last", "ys"], body=body, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[axis]
    )
    start = helper.make_node("Relu", ["start"], ["h0"])
    inputs = [values("start", ["N", 8]), values("x", ["N", 5, 6])]
    outer = weights(Wx=(6, 8), Wh=(8, 8), bo=(3,))
    graph = helper.make_graph([start, scan], "recurrent", inputs, [values("ys", None)], outer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("axis", [0, 1])
def test_head_inside_a_scan(axis: int) -> None:
    """The head is found behind the Scan, and the outputs are the same to the bit."""
    proto = recurrent(axis)
    before = proto.SerializeToString()
    model = read_model(proto)
    assert proto.SerializeToString() == before
    head = find_head(model)
    assert isinstance(head, Head)
    assert (head.p, head.C, head.kind) == (8, 3, "MatMul+Add")
    rng = np.random.default_rng(1)
    feed = {name: rng.standard_normal(s).astype(np.float32) for name, s in (("start", (4, 8)), ("x", (4, 5, 6)))}
    expected, got = (
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for data in (before, model.data)
    )
    np.testing.assert_array_equal(got, expected)


def branching(*, same: bool, condition: str = "choose", shared: bool = False) -> onnx.ModelProto:
    """A model whose two branches end in a head each, as merged decoders do."""
    head, other = RNG.standard_normal((8, 3)).astype(np.float32), RNG.standard_normal((8, 3)).astype(np.float32)

    def branch(name: str, weight: np.ndarray, activation: str) -> onnx.GraphProto:
        own = "Wo" if shared else f"{name}.Wo"
        nodes = [
            helper.make_node("MatMul", ["x", "Wx"], [f"{name}.a"]),
            helper.make_node(activation, [f"{name}.a"], [f"{name}.h"]),
            helper.make_node("MatMul", [f"{name}.h", own], [f"{name}.f"]),
            helper.make_node("Add", [f"{name}.f", "bo"], [f"{name}.y"]),
        ]
        weights_inside = [] if shared else [numpy_helper.from_array(weight, own)]
        return helper.make_graph(nodes, name, [], [values(f"{name}.y", ["N", 3])], weights_inside)

    nodes = [
        helper.make_node("Not", ["choose"], ["negated"]),
        helper.make_node(
            "If", [condition], ["y"], then_branch=branch("one", head, "Relu"),
            else_branch=branch("two", head if same else other, "Tanh"),
        ),
    ]  # fmt: skip
    inputs = [values("x", ["N", 6]), helper.make_tensor_value_info("choose", TensorProto.BOOL, [1])]
    outer = [*weights(Wx=(6, 8), bo=(3,)), numpy_helper.from_array(head, "Wo")]
    graph = helper.make_graph(nodes, "branching", inputs, [values("y", ["N", 3])], outer)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("condition", ["choose", "negated"])
def test_head_in_both_branches(condition: str, shared: bool) -> None:
    """A head with which both branches of an If end is found behind it, and the outputs are the same to the bit."""
    proto = branching(same=True, condition=condition, shared=shared)
    before = proto.SerializeToString()
    model = read_model(proto)
    assert proto.SerializeToString() == before
    head = find_head(model)
    assert isinstance(head, Head)
    assert (head.p, head.C, head.outputs.tensor) == (8, 3, "y")
    feed = {"x": np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)}
    for choice in (True, False):
        feed["choose"] = np.array([choice])
        expected, got = (
            ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(["y"], feed)[0]
            for data in (before, model.data)
        )
        np.testing.assert_array_equal(got, expected)


def test_different_heads_in_branches() -> None:
    """Branches with heads of their own are refused, with advice that no name of a hidden tensor is part of."""
    with pytest.raises(HeadError, match=r"inside the branches of an If, which 'choose' decides") as caught:
        find_head(read_model(branching(same=False)))
    assert "--features" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_condition_computed_from_a_constant() -> None:
    """A condition that is the opposite of a constant decides the branch."""
    proto = branching(same=False, condition="negated")
    del proto.graph.input[1]
    proto.graph.initializer.append(numpy_helper.from_array(np.array([True]), "choose"))
    head = find_head(read_model(proto))
    assert head.features.tensor == "two.h"
