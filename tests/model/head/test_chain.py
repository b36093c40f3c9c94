"""Operators behind a linear layer move its rows, or change neither features nor outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model._heads import B2, FLOAT32, HIDDEN, MAPS, WEIGHTS, build, relu, rows_of
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper

from onnxrich import run
from onnxrich.engine.runtime import Session, choose_device
from onnxrich.model.file import read_model
from onnxrich.model.head.head import find_head
from onnxrich.model.patch.instrument import expose_rows


def convolve(x: np.ndarray) -> np.ndarray:
    """The 3 × 3 convolution of MAPS and its ReLU, by loops: (n, 2, h, w) → (n, 8, h, w)."""
    k = WEIGHTS["k"].astype(np.float32).astype(float)
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(x), 8, *x.shape[2:]))
    for i in range(3):
        for j in range(3):
            window = padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
            result += np.einsum("nchw,oc->nohw", window, k[:, :, i, j])
    return relu(result)


K1 = WEIGHTS["k1"].astype(np.float32).astype(float)[:, :, 0, 0]
POOLED = {
    "conv, then pooling": "f = Conv(r, k1, b2)\n p = GlobalAveragePool(f)\n y = Flatten(p)",
    "pooling, then conv": "p = GlobalAveragePool(r)\n f = Conv(p, k1, b2)\n y = Flatten(f)",
    "conv, then mean": "f = Conv(r, k1, b2)\n y = ReduceMean<axes=[2,3], keepdims=0>(f)",
}


@pytest.mark.parametrize("style", POOLED)
def test_pooled_convolution(style: str) -> None:
    """A 1 × 1 convolution and global average pooling commute: rows are samples, features are pooled."""
    model = build(MAPS + POOLED[style], x="float[N,2,5,4] x")
    x = np.random.default_rng(0).standard_normal((6, 2, 5, 4)).astype(np.float32)
    features, f = rows_of(model, find_head(model), x)
    expected = convolve(x).mean(axis=(2, 3))
    np.testing.assert_allclose(features, expected, atol=FLOAT32)
    np.testing.assert_allclose(f, expected @ K1.T + B2, atol=10 * FLOAT32)


def test_positions() -> None:
    """A 1 × 1 convolution that nothing pools makes every position a row."""
    model = build(MAPS + "f = Conv(r, k1)\n y = Softmax<axis=1>(f)", x="float[N,2,5,4] x", out="float[N,3,5,4] y")
    x = np.random.default_rng(0).standard_normal((6, 2, 5, 4)).astype(np.float32)
    features, f = rows_of(model, find_head(model), x)
    expected = convolve(x).transpose(0, 2, 3, 1).reshape(-1, 8)
    np.testing.assert_allclose(features, expected, atol=FLOAT32)
    np.testing.assert_allclose(f, expected @ K1.T, atol=10 * FLOAT32)


@pytest.mark.parametrize("wrap", ["Identity", "Cast<to=1>", "Reshape", "Transpose"])
@pytest.mark.parametrize("where", ["features", "outputs"])
def test_inserted_operators_change_nothing(wrap: str, where: str) -> None:
    """Operators that undo themselves, before or behind the head, leave features and outputs the same."""

    def pass_through(source: str, target: str) -> str:
        if wrap == "Reshape":
            rows = "rows_8" if where == "features" else "rows_3"
            return f"{target}0 = Reshape({source}, flat)\n {target} = Reshape({target}0, {rows})"
        if wrap == "Transpose":
            return f"{target}0 = Transpose({source})\n {target} = Transpose({target}0)"
        return f"{target} = {wrap}({source})" if "<" not in wrap else f"{target} = Cast<to=1>({source})"

    plain = build(HIDDEN + "y = Gemm(r, w2, b2)")
    if where == "features":
        body = HIDDEN + pass_through("r", "q") + "\n y = Gemm(q, w2, b2)"
    else:
        body = HIDDEN + "q = Gemm(r, w2, b2)\n" + pass_through("q", "y")
    detoured = build(body)
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    tables = zip(rows_of(plain, find_head(plain), x), rows_of(detoured, find_head(detoured), x), strict=True)
    for expected, got in tables:
        np.testing.assert_array_equal(got, expected)


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
        forth = helper.make_node("Cast", [source], [middle], to=TensorProto.DOUBLE)
        return [forth, helper.make_node("Cast", [middle], [target], to=TensorProto.FLOAT)]
    if kind == "transpose":
        return [helper.make_node("Transpose", [source], [middle]), helper.make_node("Transpose", [middle], [target])]
    if kind == "unsqueeze":
        forth = helper.make_node("Unsqueeze", [source, "axis"], [middle])
        return [forth, helper.make_node("Squeeze", [middle, "axis"], [target])]
    width = "wide8" if target.startswith("features") else "wide3"
    forth = helper.make_node("Reshape", [source, "flat"], [middle])
    return [forth, helper.make_node("Reshape", [middle, width], [target])]


def network(detours: list[tuple[str, str]]) -> onnx.ModelProto:
    """A small network with detours at places around its head."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("Relu", ["a"], ["features"])]
    tensors = {"features": "features"}

    def detour(place: str, tensor: str) -> str:
        for number, (detour_place, kind) in enumerate(detours):
            if detour_place == place:
                target = f"{place}.{number}"
                nodes.extend(wrap(kind, tensor, target))
                tensor = target
        return tensor

    tensors["features"] = detour("features", "features")
    nodes.append(helper.make_node("MatMul", [tensors["features"], "w2"], ["product"]))
    nodes.append(helper.make_node("Add", [detour("between", "product"), "b2"], ["f"]))
    nodes.append(helper.make_node("Softmax", [detour("logits", "f")], ["y"], axis=-1))
    constants = {"flat": [1, -1], "wide8": [-1, 8], "wide3": [-1, 3], "axis": [1]}
    weights = {name: WEIGHTS[name].astype(np.float32) for name in ("w1", "w2", "b2")}
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    initializers += [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Identity", ["a"], ["b"])]
    functions: list[FunctionProto] = [helper.make_function("local", "Pass", ["a"], ["b"], body, opsets[:1])]
    return helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9)


def exposed_rows(proto: onnx.ModelProto) -> tuple[np.ndarray, np.ndarray]:
    model = read_model(proto)
    patch, names = expose_rows(model, find_head(model))
    session = Session([model.data, patch], folder=None, device=choose_device("cpu"), name="property")
    features, outputs = session.run(names, {"x": X})
    return features, outputs


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS)), max_size=6))
def test_detours_change_nothing(detours: list[tuple[str, str]]) -> None:
    """Features and logits are the same to the bit, and D_LR with them."""
    plain, detoured = network([]), network(detours)
    for expected, got in zip(exposed_rows(plain), exposed_rows(detoured), strict=True):
        np.testing.assert_array_equal(got, expected)
    expected_d_lr = run(plain, {"x": X}, device="cpu").metrics["d_lr"]
    assert run(detoured, {"x": X}, device="cpu").metrics["d_lr"] == expected_d_lr
