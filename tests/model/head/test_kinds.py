"""Heads of less common operators, and linear operators that are no head."""

from __future__ import annotations

import numpy as np
import onnx
import oracle
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxrich
from onnxrich.errors import HeadError
from onnxrich.model.file import read_model
from onnxrich.model.head.head import Head, find_head

RNG = np.random.default_rng(3)
# D_LR of a float32 model against float64 matrices: sums of some ten products each.
SAME = 1e-5


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def network(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    *,
    x: list[int | str],
    y: str = "y",
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model from nodes and weights."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


X, W, V, B = normal(200, 6), normal(6, 8), normal(4, 8), normal(4)
H = np.maximum(X.astype(float) @ W.astype(float), 0)
HIDDEN = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["h"])]


def linear_classifier(**attributes: object) -> onnx.ModelProto:
    options = {"coefficients": V.reshape(-1).tolist(), "intercepts": B.tolist(), "classlabels_ints": [0, 1, 2, 3]}
    head = helper.make_node("LinearClassifier", ["h"], ["label", "s"], domain="ai.onnx.ml", **(options | attributes))
    return network([*HIDDEN, head], {"w": W}, x=["N", 6], y="s", domains=("ai.onnx.ml",))


def test_linear_classifier() -> None:
    """A linear classifier on hidden features is a head, and its scores are the outputs."""
    analysis = onnxrich.run(linear_classifier(), {"x": X}, device="cpu")
    assert (analysis.record.head.features, analysis.record.head.outputs) == ("h", "s")
    expected = oracle.d_lr(H, H @ V.T.astype(float) + B)
    assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=SAME)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"post_transform": "SOFTMAX"}, "it applies SOFTMAX to its scores"),
        ({"coefficients": V[0].tolist(), "intercepts": [0.5], "classlabels_ints": [0, 1]}, "as those of two classes"),
    ],
)
def test_hidden_scores(attributes: dict[str, object], reason: str) -> None:
    """Scores that no tensor holds are no outputs."""
    with pytest.raises(HeadError, match=reason):
        find_head(read_model(linear_classifier(**attributes)))


def test_linear_regressor() -> None:
    """A linear regressor on hidden features, whose targets are scaled back behind it, is a head."""
    options = {"coefficients": V.reshape(-1).tolist(), "intercepts": B.tolist(), "targets": 4}
    head = helper.make_node("LinearRegressor", ["h"], ["s"], domain="ai.onnx.ml", **options)
    nodes = [*HIDDEN, head, helper.make_node("Mul", ["s", "k"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])]
    weights = {"w": W, "b": B, "k": np.array(3, np.float32)}
    proto = network(nodes, weights, x=["N", 6], domains=("ai.onnx.ml",))
    analysis = onnxrich.run(proto, {"x": X}, device="cpu")
    assert analysis.record.head.outputs == "y"
    expected = oracle.d_lr(H, 3 * (H @ V.T.astype(float) + B) + B)
    assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=SAME)


MAPS = [helper.make_node("Conv", ["x", "k"], ["a"]), helper.make_node("Relu", ["a"], ["h"])]


def test_transposed_convolution() -> None:
    """A transposed convolution whose kernel acts at one position is a head of positions."""
    kernel, x = normal(8, 3, 1, 1), normal(20, 2, 4, 4)
    nodes = [*MAPS, helper.make_node("ConvTranspose", ["h", "t", "c"], ["y"])]
    weights = {"k": normal(8, 2, 1, 1), "t": kernel, "c": normal(3)}
    analysis = onnxrich.run(network(nodes, weights, x=["N", 2, 4, 4]), {"x": x}, device="cpu")
    rows = x.astype(float).transpose(0, 2, 3, 1).reshape(-1, 2)
    h = np.maximum(rows @ weights["k"][:, :, 0, 0].T.astype(float), 0)
    expected = oracle.d_lr(h, h @ kernel[:, :, 0, 0].astype(float) + weights["c"])
    assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=SAME)


def test_upsampling_convolution_is_refused() -> None:
    """A transposed convolution of several positions is no linear layer of rows."""
    nodes = [*MAPS, helper.make_node("ConvTranspose", ["h", "t"], ["y"], strides=[2, 2])]
    weights = {"k": normal(8, 2, 1, 1), "t": normal(8, 3, 2, 2)}
    with pytest.raises(HeadError, match="kernel acts at several positions"):
        find_head(read_model(network(nodes, weights, x=["N", 2, 4, 4])))


def test_quantised_pooling() -> None:
    """A pooling of integers behind a quantised convolution pools φ too: rows are samples."""
    scales = {"s": np.array(0.03, np.float32), "o": np.array(128, np.uint8), "ws": np.array(0.01, np.float32),
              "wo": np.array(0, np.int8), "ys": np.array(0.05, np.float32)}  # fmt: skip
    integers = RNG.integers(-90, 90, (3, 8, 1, 1)).astype(np.int8)
    nodes = [
        *MAPS,
        helper.make_node("QuantizeLinear", ["h", "s", "o"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "o", "i", "ws", "wo", "ys", "o"], ["f"]),
        helper.make_node("QLinearGlobalAveragePool", ["f", "ys", "o", "ys", "o"], ["p"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["p", "ys", "o"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    weights = {"k": normal(8, 2, 1, 1), "i": integers, **scales}
    proto = network(nodes, weights, x=["N", 2, 4, 4], domains=("com.microsoft",))
    x = normal(200, 2, 4, 4) + normal(200, 2, 1, 1)
    analysis = onnxrich.run(proto, {"x": x}, device="cpu")
    maps = np.einsum("nchw,oc->nohw", x.astype(float), weights["k"][:, :, 0, 0].astype(float))
    pooled = np.clip(np.maximum(maps, 0), None, 0.03 * 127).mean(axis=(2, 3))
    expected = oracle.d_lr(pooled, pooled @ (0.01 * integers[:, :, 0, 0].T.astype(float)))
    assert (analysis.record.head.p, analysis.record.data.n) == (8, 200)
    assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=0.02)  # outputs are rounded to steps of 0.05


def filterbank(*, weight: np.ndarray, power: str, logarithm: bool) -> onnx.ModelProto:
    """Filters on the power spectrum of a signal, whose transform is a product with sines and cosines."""
    nodes = [helper.make_node("MatMul", ["x", "fourier"], ["s"])]
    square = ["s", "s"] if power == "Mul" else ["s", "two"] if power == "Pow" else ["s"]
    nodes.append(helper.make_node(power, square, ["p"]))
    if logarithm:
        nodes += [helper.make_node("Add", ["p", "two"], ["m"]), helper.make_node("Log", ["m"], ["p2"])]
    nodes.append(helper.make_node("MatMul", ["p2" if logarithm else "p", "mel"], ["f"]))
    nodes.append(helper.make_node("Softplus", ["f"], ["y"]))
    weights = {"fourier": normal(16, 9), "mel": weight, "two": np.array(2, np.float32)}
    return network(nodes, weights, x=["N", 16])


@pytest.mark.parametrize(
    ("power", "logarithm", "signed"), [("Pow", False, False), ("Mul", False, False), ("Abs", True, True)]
)
def test_filterbanks_are_no_heads(power: str, logarithm: bool, signed: bool) -> None:
    """Filters on a spectrum of the input are fixed: no trained layer precedes them."""
    weight = normal(9, 5) if signed else np.abs(normal(9, 5))
    with pytest.raises(HeadError, match="acts on a fixed transform of the model's input, such as a spectrogram"):
        find_head(read_model(filterbank(weight=weight, power=power, logarithm=logarithm)))


def test_squares_may_be_activations() -> None:
    """A layer with weights of both signs on squares is a head."""
    head = find_head(read_model(filterbank(weight=normal(9, 5), power="Pow", logarithm=False)))
    assert isinstance(head, Head)
    assert head.features.tensor == "p"


def test_trees_have_no_features() -> None:
    """An ensemble of trees is told that it has no penultimate layer."""
    tree = {"nodes_treeids": [0], "nodes_nodeids": [0], "nodes_featureids": [0], "nodes_modes": ["LEAF"],
            "nodes_values": [0.0], "nodes_truenodeids": [0], "nodes_falsenodeids": [0], "target_treeids": [0],
            "target_nodeids": [0], "target_ids": [0], "target_weights": [1.0], "n_targets": 1}  # fmt: skip
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **tree)
    with pytest.raises(HeadError, match="an ensemble of trees, which has no penultimate layer"):
        find_head(read_model(network([node], {}, x=["N", 6], domains=("ai.onnx.ml",))))
