"""Whatever undoes itself, put anywhere around the head, changes neither features nor logits nor D_LR."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

import onnxrich
from onnxrich.engine import runtime as session
from onnxrich.model import file as model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

RNG = np.random.default_rng(11)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 8)), "w2": RNG.standard_normal((8, 3)), "b2": RNG.standard_normal(3)
}  # fmt: skip
X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
KINDS = ("identity", "reshape", "transpose", "cast", "dropout", "function", "unsqueeze")
PLACES = ("features", "between", "logits")


def wrap(kind: str, source: str, target: str) -> list[NodeProto]:
    """Nodes that lead a tensor through an operator and back."""
    middle = f"{target}/middle"
    if kind == "identity":
        return [helper.make_node("Identity", [source], [target])]
    if kind == "dropout":
        return [helper.make_node("Dropout", [source], [target])]
    if kind == "function":
        return [helper.make_node("Pass", [source], [target], domain="local")]
    if kind == "cast":
        there = helper.make_node("Cast", [source], [middle], to=TensorProto.DOUBLE)
        return [there, helper.make_node("Cast", [middle], [target], to=TensorProto.FLOAT)]
    if kind == "transpose":
        return [helper.make_node("Transpose", [source], [middle]), helper.make_node("Transpose", [middle], [target])]
    if kind == "unsqueeze":
        there = helper.make_node("Unsqueeze", [source, "axis"], [middle])
        return [there, helper.make_node("Squeeze", [middle, "axis"], [target])]
    width = "wide8" if target.startswith("features") else "wide3"
    there = helper.make_node("Reshape", [source, "flat"], [middle])
    return [there, helper.make_node("Reshape", [middle, width], [target])]


def network(detours: list[tuple[str, str]]) -> onnx.ModelProto:
    """A small network with detours at places around its head."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("Relu", ["a"], ["features"])]
    tensors = {"features": "features"}

    def detour(place: str, tensor: str) -> str:
        for at, (where, kind) in enumerate(detours):
            if where == place:
                target = f"{place}.{at}"
                nodes.extend(wrap(kind, tensor, target))
                tensor = target
        return tensor

    tensors["features"] = detour("features", "features")
    nodes.append(helper.make_node("MatMul", [tensors["features"], "w2"], ["product"]))
    nodes.append(helper.make_node("Add", [detour("between", "product"), "b2"], ["f"]))
    nodes.append(helper.make_node("Softmax", [detour("logits", "f")], ["y"], axis=-1))
    constants = {"flat": [1, -1], "wide8": [-1, 8], "wide3": [-1, 3], "axis": [1]}
    given = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in WEIGHTS.items()]
    given += [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        given,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Identity", ["a"], ["b"])]
    functions: list[FunctionProto] = [helper.make_function("local", "Pass", ["a"], ["b"], body, opsets[:1])]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def rows_of(proto: onnx.ModelProto) -> tuple[np.ndarray, np.ndarray]:
    read = model.read_model(proto)
    patch, names = rewrite.expose_rows(read, head.find_head(read))
    live = session.Session([read.data, patch], folder=None, device=session.choose("cpu"), name="property")
    features, outputs = live.run(names, {"x": X})
    return features, outputs


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS)), max_size=6))
def test_detours_change_nothing(detours: list[tuple[str, str]]) -> None:
    """Features and logits are the same to the bit, and D_LR with them."""
    plain, other = network([]), network(detours)
    for expected, got in zip(rows_of(plain), rows_of(other), strict=True):
        np.testing.assert_array_equal(got, expected)
    expected_d_lr = onnxrich.run(plain, {"x": X}, device="cpu").metrics["d_lr"]
    assert onnxrich.run(other, {"x": X}, device="cpu").metrics["d_lr"] == expected_d_lr
