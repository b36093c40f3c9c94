"""A head gives the model's output: parts that are linear in one φ are one head, and all else is refused or said."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build

import onnxrich
from onnxrich.errors import HeadError

RNG = np.random.default_rng(11)
X = RNG.standard_normal((300, 6)).astype(np.float32)
# D_LR of a float32 model against float64 matrices: sums of some ten products each.
SAME = 1e-5


def normal(*shape: int) -> np.ndarray:
    """A weight of float32."""
    return RNG.standard_normal(shape).astype(np.float32)


WEIGHTS: dict[str, np.ndarray] = {
    "w": normal(6, 8), "h_h": normal(8, 8), "v": normal(8, 1), "vb": normal(1), "a": normal(8, 4), "ab": normal(4),
    "a2": normal(8, 4), "a3": normal(8, 4), "low": normal(8, 2), "up": normal(2, 4), "two": np.array(2, np.float32),
    "row": normal(1, 4), "deep": normal(4, 5), "back": normal(5, 4), "wide": normal(6, 7), "w7": normal(7, 4),
    "last": np.array([-1]), "one": np.array([1]), "stack": np.array([0, 3, 4]), "flat": np.array([0, -1]),
    "two_": np.array([2]),
    "picked": np.array([3, 0, 2]), "three": normal(3),
    "all4": np.array([4, 4]), "va": normal(4, 1), "aa": normal(4, 4), "zero": np.array([0]), "first": np.array(0),
    "gain": normal(4), "mean": normal(4), "spread": np.abs(normal(4)) + 1, "c": np.array(3.5, np.float32),
    "g1": normal(1), "m1": normal(1), "s1": np.abs(normal(1)) + 1, "square": normal(8, 8), "sb": normal(8),
}  # fmt: skip
HIDDEN = "z = MatMul(x, w)\n h = Relu(z)\n "


def exact(name: str) -> np.ndarray:
    """A weight in float64."""
    return WEIGHTS[name].astype(np.float64)


H = np.maximum(X.astype(np.float64) @ exact("w"), 0)


def model(body: str, y: str = "float[N,4] y", opset: int = 17) -> onnx.ModelProto:
    """A model whose hidden layer is h."""
    proto = build(HIDDEN + body, y=y, opset=opset, **WEIGHTS)
    onnx.checker.check_model(proto)
    return proto


def measured(body: str, y: str = "float[N,4] y", opset: int = 17, **options: Any) -> onnxrich.Analysis:
    return onnxrich.run(model(body, y, opset), {"x": X}, device="cpu", **options)


A = H @ exact("a") + exact("ab")
V = H @ exact("v") + exact("vb")
LAYER = "f = Gemm(h, a, ab)\n "
BOTH = "f = Gemm(h, a, ab)\n s = Gemm(h, v, vb)\n "
NORMALIZED = (A - exact("mean")) / np.sqrt(exact("spread") + 1e-5) * exact("gain") + exact("ab")
# The graph behind h, f in NumPy, and the type of the output.
JOINT: dict[str, tuple[str, np.ndarray, str]] = {
    "dueling": (
        BOTH + "m = ReduceMean<axes = [1]>(f)\n d = Sub(f, m)\n y = Add(s, d)", V + A - A.mean(1, keepdims=True), "4",
    ),
    "dueling from halves of h": (
        "p, q = Split<axis = 1>(h, all4)\n f = MatMul(p, aa)\n s = MatMul(q, va)\n"
        " m = ReduceMean<axes = [-1]>(f)\n n = Neg(m)\n y = Sum(s, f, n)",
        (lambda f: H[:, 4:] @ exact("va") + f - f.mean(1, keepdims=True))(H[:, :4] @ exact("aa")), "4",
    ),
    "dueling, then softmax": (
        BOTH + "m = ReduceMean<axes = [1]>(f)\n d = Sub(f, m)\n q = Add(d, s)\n y = Softmax(q)",
        V + A - A.mean(1, keepdims=True), "4",
    ),
    "adapter": (
        LAYER + "l = MatMul(h, low)\n u = MatMul(l, up)\n k = Mul(u, two)\n y = Add(f, k)",
        A + 2 * H @ exact("low") @ exact("up"), "4",
    ),
    "adapter first, scaled inside": (
        LAYER + "l = MatMul(h, low)\n k = Div(l, two)\n u = MatMul(k, up)\n y = Add(u, f)",
        A + H @ exact("low") @ exact("up") / 2, "4",
    ),
    "adapter behind dropout, then sigmoid": (
        LAYER + "e = Dropout(h)\n l = MatMul(e, low)\n u = MatMul(l, up)\n q = Add(f, u)\n y = Sigmoid(q)",
        A + H @ exact("low") @ exact("up"), "4",
    ),
    "side by side": (BOTH + "y = Concat<axis = 1>(f, s)", np.hstack([A, V]), "5"),
    "side by side along the last axis": (BOTH + "y = Concat<axis = -1>(s, f, s)", np.hstack([V, A, V]), "6"),
    "mean of three": (
        "p = MatMul(h, a)\n q = MatMul(h, a2)\n r = MatMul(h, a3)\n y = Mean(p, q, r)",
        H @ (exact("a") + exact("a2") + exact("a3")) / 3, "4",
    ),
    "mean of a stack": (
        "p = MatMul(h, a)\n q = MatMul(h, a2)\n u = Unsqueeze(p, one)\n v_ = Unsqueeze(q, one)\n"
        " t = Concat<axis = 1>(u, v_)\n y = ReduceMean<axes = [1], keepdims = 0>(t)",
        H @ (exact("a") + exact("a2")) / 2, "4",
    ),
    "difference, shifted": (
        "p = MatMul(h, a)\n q = MatMul(h, a2)\n d = Sub(p, q)\n y = Add(row, d)",
        H @ (exact("a") - exact("a2")) + exact("row"), "4",
    ),
    "residual": ("g = Gemm(h, square, sb)\n y = Add(g, h)", H @ exact("square") + exact("sb") + H, "8"),
    "residual first, then softmax": (
        "g = MatMul(h, square)\n k = Mul(two, h)\n s = Add(k, g)\n y = Softmax(s)", H @ exact("square") + 2 * H, "8",
    ),
    "doubled layer": (LAYER + "y = Add(f, f)", 2 * A, "4"),
    "centred outputs": (LAYER + "m = ReduceMean<axes = [1]>(f)\n y = Sub(f, m)", A - A.mean(1, keepdims=True), "4"),
    "batch normalisation": (LAYER + "y = BatchNormalization(f, gain, ab, mean, spread)", NORMALIZED, "4"),
    "batch normalisation, then softmax": (
        LAYER + "n = BatchNormalization(f, gain, ab, mean, spread)\n y = Softmax(n)", NORMALIZED, "4",
    ),
    "batch normalisation of one output": (
        "f = MatMul(h, v)\n y = BatchNormalization(f, g1, vb, m1, s1)",
        (H @ exact("v") - exact("m1")) / np.sqrt(exact("s1") + 1e-5) * exact("g1") + exact("vb"), "1",
    ),
    "scale and shift of each output": (
        LAYER + "s = Mul(f, gain)\n y = Add(s, mean)", A * exact("gain") + exact("mean"), "4",
    ),
    "units of one output": ("f = Gemm(h, v, vb)\n s = Mul(f, c)\n y = Add(s, two)", V * 3.5 + 2, "1"),
    "units of all outputs": (LAYER + "s = Div(f, two)\n y = Sub(s, c)", A / 2 - 3.5, "4"),
    "some outputs": (LAYER + "y = Slice(f, zero, two_, one)", A[:, :2], "2"),
    "some outputs, chosen, then a bias and softmax": (
        LAYER + "g = Gather<axis = 1>(f, picked)\n s = Add(g, three)\n y = Softmax(s)",
        A[:, [3, 0, 2]] + exact("three"), "3",
    ),
    "one half of the outputs": (LAYER + "y, rest = Split<axis = 1>(f)", A[:, :2], "2"),
    "shift by a number, moved": (LAYER + "s = Add(f, c)\n u = Unsqueeze(s, one)\n y = Squeeze(u, one)", A + 3.5, "4"),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINT)
def test_linear_parts_are_one_head(case: str) -> None:
    """Whatever is affine in one φ up to the output, or up to an activation, is measured as one head."""
    body, outputs, width = JOINT[case]
    analysis = measured(body, f"float[N,{width}] y")
    assert analysis.record.head.verified
    assert (analysis.record.head.p, analysis.record.head.C) == (8, outputs.shape[1])
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(H, outputs), abs=SAME)


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_operator_sets(opset: int) -> None:
    """Axes are attributes in old operator sets and inputs in new ones."""
    if opset < 18:
        body = BOTH + "m = ReduceMean<axes = [1]>(f)\n d = Sub(f, m)\n y = Add(s, d)"
    else:
        body = BOTH + "m = ReduceMean(f, one)\n d = Sub(f, m)\n y = Add(s, d)"
    expected = oracle.d_lr(H, V + A - A.mean(1, keepdims=True))
    assert measured(body, opset=opset).metrics["d_lr"] == pytest.approx(expected, abs=SAME)


# Sums, products and mixtures that are not linear in one φ.
NOT_LINEAR = {
    "cascade": LAYER + "g = MatMul(f, deep)\n r = Relu(g)\n e = MatMul(r, back)\n y = Add(f, e)",
    "cascade, subtracted": LAYER + "g = MatMul(f, deep)\n r = Tanh(g)\n e = MatMul(r, back)\n y = Sub(e, f)",
    "gate": LAYER + "g = MatMul(h, a2)\n s = Sigmoid(g)\n y = Mul(f, s)",
    "gate of its own outputs": (
        LAYER + "g = MatMul(f, deep)\n r = Relu(g)\n e = MatMul(r, back)\n s = Sigmoid(e)\n y = Mul(f, s)"
    ),
    "mixture": (
        "p = MatMul(h, a)\n q = MatMul(h, a2)\n g = MatMul(h, v)\n s = Sigmoid(g)\n k = Mul(p, s)\n "
        "y = Add(k, q)"
    ),
    "other features": LAYER + "k1 = MatMul(x, wide)\n r = Relu(k1)\n e = MatMul(r, w7)\n y = Mean(f, e)",
    "two activations": LAYER + "g = MatMul(h, a2)\n p = Softmax(f)\n q = Sigmoid(g)\n y = Concat<axis = 1>(p, q)",
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_LINEAR)
def test_other_parts_are_listed(case: str) -> None:
    """An output that needs several layers has no head: the error lists the parts with their names."""
    width = 8 if case == "two activations" else 4
    with pytest.raises(HeadError, match=r"possible heads, 'y' depends on several; needed: one head\.") as caught:
        measured(NOT_LINEAR[case], f"float[N,{width}] y")
    assert str(caught.value).count("--outputs") >= 2
    assert len(str(caught.value)) < 300


def test_shared_outputs_are_all_measured() -> None:
    """Two outputs that are parts of one layer's outputs have one head: the layer."""
    head = measured(LAYER + "y, rest = Split<axis = 1>(f)", "float[N,2] y, float[N,2] rest").record.head
    assert (head.outputs, head.C) == ("f", 4)


def test_head_of_another_output_is_no_part() -> None:
    """A layer that one output shows and another output needs is not left out as hidden."""
    body = LAYER + "g = MatMul(f, deep)\n r = Relu(g)\n e = MatMul(r, back)\n y = Add(f, e)"
    with pytest.raises(HeadError, match="possible heads, 'y' depends on several"):
        measured(body, "float[N,4] f, float[N,4] y")


CASCADE = NOT_LINEAR["cascade"]
DEEP = np.maximum(A @ exact("deep"), 0)
NAMED: dict[str, tuple[str, str, str, np.ndarray, np.ndarray, bool]] = {
    "not affine": (CASCADE, "r", "y", DEEP, A + DEEP @ exact("back"), False),
    "a part": (CASCADE, "r", "e", DEEP, DEEP @ exact("back"), True),
    "probabilities": (
        LAYER + "y = Softmax(f)", "h", "y", H, np.exp(A) / np.exp(A).sum(1, keepdims=True), False,
    ),
    "behind the scale": (LAYER + "y = Mul(f, two)", "h", "y", H, 2 * A, True),
    "before the scale": (LAYER + "s = Mul(f, gain)\n y = Add(s, mean)", "h", "f", H, A, True),
    "a sum of layers": (JOINT["adapter"][0], "h", "y", H, JOINT["adapter"][1], True),
    "one term of a sum": (JOINT["adapter"][0], "h", "f", H, A, True),
    "a token of a sum": (
        "u = Unsqueeze(h, one)\n f = MatMul(u, a)\n l = MatMul(u, low)\n k = MatMul(l, up)\n s = Add(f, k)\n"
        " y = Gather<axis = 1>(s, first)", "u", "y", H, H @ (exact("a") + exact("low") @ exact("up")), True,
    ),
    "earlier features": (CASCADE, "h", "e", H, DEEP @ exact("back"), False),
    "through an activation, back": (CASCADE, "h", "f", H, A, True),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_names_are_obeyed(case: str) -> None:
    """The two tensors that are named are measured: verified where one is affine in the other, else marked."""
    body, features, outputs, phi, f, verified = NAMED[case]
    head = (analysis := measured(body, features=features, outputs=outputs)).record.head
    assert (head.features, head.outputs, head.verified) == (features, outputs, verified)
    assert head.kind == "chosen tensors" or verified
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(phi, f), abs=SAME)


def test_exposing_named_tensors(tmp_path: Any) -> None:
    """`expose` gives the tensors that are named."""
    source, target = tmp_path / "model.onnx", tmp_path / "exposed.onnx"
    onnx.save(model(CASCADE), source)
    names = onnxrich.expose(source, target, features="r", outputs="y")
    import onnxruntime

    got = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"]).run(list(names), {"x": X})
    for table, expected in zip(got, (DEEP, A + DEEP @ exact("back")), strict=True):
        np.testing.assert_allclose(table, expected, atol=1e-3)


ACTIVATIONS = {
    "hard swish": ("p = Add(f, c)\n k = Clip(p, g1, c)\n y = Mul(f, k)", "f"),
    "hard swish without a bias": ("e = MatMul(h, a)\n p = Add(e, c)\n k = Relu(p)\n y = Mul(e, k)", "e"),
    "two scales": ("p = Mul(f, gain)\n q = Mul(f, mean)\n s = Exp(p)\n t = Exp(q)\n y = Add(s, t)", "f"),
    "logistic": ("n = Neg(f)\n e = Exp(n)\n d = Add(e, c)\n y = Div(c, d)", "f"),
    "log-sum-exp": (
        "m = ReduceMax<axes = [1]>(f)\n d = Sub(f, m)\n e = Exp(d)\n s = ReduceSum(e, one)\n l = Log(s)\n"
        " t = Add(l, m)\n y = Sub(f, t)", "f",
    ),
    "layer normalisation": (
        "m = ReduceMean<axes = [1]>(f)\n d = Sub(f, m)\n e = Mul(d, d)\n v_ = ReduceMean<axes = [1]>(e)\n"
        " r = Sqrt(v_)\n y = Div(d, r)", "f",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_written_activations_end_the_head(case: str) -> None:
    """An activation of several operators is no part of the head: f is what all ways pass."""
    body, outputs = ACTIVATIONS[case]
    assert measured(LAYER + body).record.head.outputs == outputs
