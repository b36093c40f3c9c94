"""Behind a head stand functions of its outputs alone; what sums weighed values there is a layer, or is refused."""

from __future__ import annotations

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build

import onnxrich
from onnxrich.errors import HeadError
from onnxrich.model.file import read_model
from onnxrich.model.head.head import find_head

RNG = np.random.default_rng(5)
X = RNG.standard_normal((300, 6)).astype(np.float32)
# D_LR of a float32 model against float64 matrices: sums of some ten products each.
SAME = 1e-5


def normal(*shape: int) -> np.ndarray:
    """A weight of float32."""
    return RNG.standard_normal(shape).astype(np.float32)


WEIGHTS = {
    "w": normal(6, 8), "a": normal(8, 5), "ab": normal(5), "vec": normal(8), "left": normal(4, 8),
    "right": normal(8, 4),
    "centres": normal(4, 5), "b4": normal(4), "t5": normal(5), "one": np.array([1]), "last": np.array([-1]),
    "c": np.array(0.7, np.float32), "two": np.array(2, np.float32), "grid": np.arange(5, dtype=np.float32),
    "grid5": np.arange(5, dtype=np.float32)[:, None], "down": np.linspace(3, -2, 5, dtype=np.float32)[:, None],
    "kernel": np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1), "a20": normal(8, 20), "four": np.array([0, 4, 5]),
    "maps": np.array([0, 5, 2, 2]), "matrix": normal(5, 3), "mixed": normal(5, 1), "zero": np.array([0]),
    "other": normal(5), "mask": np.array([True, False, True, True, True]), "low": np.array(-9, np.float32),
    "cent8": normal(8),
}  # fmt: skip
HIDDEN = "z = MatMul(x, w)\n h = Relu(z)\n "
LAYER = "f = Gemm(h, a, ab)\n "


def exact(name: str) -> np.ndarray:
    """A weight in float64."""
    return WEIGHTS[name].astype(np.float64)


H = np.maximum(X.astype(np.float64) @ exact("w"), 0)
F = H @ exact("a") + exact("ab")


def model(body: str, y: str) -> onnx.ModelProto:
    """A model whose hidden layer is h."""
    proto = build(HIDDEN + body, y=y, **WEIGHTS)
    onnx.checker.check_model(proto)
    return proto


def measured(body: str, y: str) -> onnxrich.Analysis:
    return onnxrich.run(model(body, y), {"x": X}, device="cpu")


# Sums of weighed features: linear layers. The graph behind h, the type of y, and f in NumPy.
SUMS = {
    "a vector": ("p = Mul(h, vec)\n y = ReduceSum(p, last)", "float[N,1] y", H @ exact("vec")[:, None]),
    "a vector, no axis kept": (
        "p = Mul(vec, h)\n y = ReduceSum<keepdims = 0>(p, one)", "float[N] y", H @ exact("vec")[:, None],
    ),
    "a vector, then a bias": (
        "p = Mul(vec, h)\n s = ReduceSum<keepdims = 0>(p, last)\n y = Add(s, c)",
        "float[N] y", H @ exact("vec")[:, None] + exact("c"),
    ),
    "a vector, unsqueezed, then a bias": (
        "p = Mul(vec, h)\n s = ReduceSum<keepdims = 0>(p, last)\n u = Unsqueeze(s, one)\n y = Add(u, c)",
        "float[N,1] y", H @ exact("vec")[:, None] + exact("c"),
    ),
    "a mean": ("p = Mul(h, vec)\n y = ReduceMean<axes = [1]>(p)", "float[N,1] y", H @ exact("vec")[:, None]),
    "a matrix": (
        "u = Unsqueeze(h, one)\n p = Mul(u, left)\n s = ReduceSum<keepdims = 0>(p, last)\n y = Add(s, b4)",
        "float[N,4] y", H @ exact("left").T + exact("b4"),
    ),
    "a matrix from the left, then softmax": (
        "u = Unsqueeze(h, last)\n p = Mul(right, u)\n s = ReduceSum<keepdims = 0>(p, one)\n y = Softmax(s)",
        "float[N,4] y", H @ exact("right"),
    ),
    "a product in letters": ('y = Einsum<equation = "np,cp->nc">(h, left)', "float[N,4] y", H @ exact("left").T),
}  # fmt: skip


@pytest.mark.parametrize("case", SUMS)
def test_weighed_sums_are_layers(case: str) -> None:
    """A Mul by constants and a sum over the features are the last linear layer, and no activation."""
    body, y, outputs = SUMS[case]
    analysis = measured(body, y)
    assert (analysis.record.head.features, analysis.record.head.verified) in (("h", True), ("u", True))
    assert (analysis.record.head.p, analysis.record.head.C) == (8, outputs.shape[1])
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(H, outputs), abs=SAME)


# What sums weighed or shifted values behind a linear layer.
HIDDEN_LAYERS = {
    "squared distances": (
        "u = Unsqueeze(f, one)\n d = Sub(u, centres)\n e = Mul(d, d)\n y = ReduceSum<keepdims = 0>(e, last)"
    ),
    "squared distances by Pow": (
        "u = Unsqueeze(f, one)\n d = Sub(centres, u)\n e = Pow(d, two)\n y = ReduceSum<keepdims = 0>(e, last)"
    ),
    "distances": "u = Unsqueeze(f, one)\n d = Sub(u, centres)\n y = ReduceL2<axes = [2], keepdims = 0>(d)",
    "city blocks": "u = Unsqueeze(f, one)\n d = Sub(u, centres)\n e = Abs(d)\n y = ReduceSum<keepdims = 0>(e, last)",
    "largest distances": (
        "u = Unsqueeze(f, one)\n d = Sub(u, centres)\n e = Abs(d)\n y = ReduceMax<axes = [2], keepdims = 0>(e)"
    ),
    "radial basis": (
        "u = Unsqueeze(f, one)\n d = Sub(u, centres)\n "
        "q = ReduceSumSquare<axes = [-1], keepdims = 0>(d)\n n = Neg(q)\n y = Exp(n)"
    ),
    "weighed squares": "r = Relu(f)\n e = Mul(r, t5)\n k = Mul(e, e)\n y = ReduceSum(k, last)",
    "a weighed mean of logarithms": "s = Softplus(f)\n k = Mul(s, t5)\n l = Abs(k)\n y = ReduceMean<axes = [1]>(l)",
    "powers": "s = Softplus(f)\n k = Pow(s, t5)\n y = ReduceSum(k, last)",
    "no linear layer in letters": 's = Softplus(f)\n y = Einsum<equation = "nc,c->nc">(s, t5)',
}


@pytest.mark.parametrize("case", HIDDEN_LAYERS)
def test_hidden_layers_are_refused(case: str) -> None:
    """Distances to centres, and other sums behind constants, may be a layer of their own."""
    body = HIDDEN_LAYERS[case]
    with pytest.raises(HeadError, match="No head was found") as caught:
        measured(LAYER + body, "float[N,M] y")
    assert len(str(caught.value)) < 300


SOFTMAX = LAYER + "p = Softmax(f)\n "
EXPECTATIONS = {
    "product": (SOFTMAX + "y = MatMul(p, grid5)", "float[N,1] y"),
    "falling grid": (SOFTMAX + "y = Gemm(p, down)", "float[N,1] y"),
    "in letters": (SOFTMAX + 'y = Einsum<equation = "nk,ko->no">(p, grid5)', "float[N,1] y"),
    "sum": (SOFTMAX + "k = Mul(p, grid)\n y = ReduceSum<keepdims = 0>(k, last)", "float[N] y"),
    "sum, grid first, then units": (
        SOFTMAX + "k = Mul(grid, p)\n s = ReduceSum(k, one)\n m = Mul(s, two)\n y = Add(m, c)", "float[N,1] y",
    ),
    "logarithms": (LAYER + "l = LogSoftmax(f)\n p = Exp(l)\n y = MatMul(p, grid5)", "float[N,1] y"),
    "written softmax": (
        LAYER + "m = ReduceMax<axes = [1]>(f)\n d = Sub(f, m)\n e = Exp(d)\n s = ReduceSum(e, one)\n p = Div(e, s)\n"
        " y = MatMul(p, grid5)", "float[N,1] y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPECTATIONS)
def test_expectations_are_tails(case: str) -> None:
    """A fixed expectation behind a softmax belongs to the tail: the head is the linear layer before the softmax."""
    body, y = EXPECTATIONS[case]
    analysis = measured(body, y)
    assert (analysis.record.head.outputs, analysis.record.head.C) == ("f", 5)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(H, F), abs=SAME)


def test_expectations_of_several_distributions() -> None:
    """A distribution for each of four outputs: the head has all their scores as outputs."""
    scores = "f = MatMul(h, a20)\n r = Reshape(f, four)\n p = Softmax(r)\n "
    analysis = measured(scores + "k = Mul(p, grid)\n y = ReduceSum<keepdims = 0>(k, last)", "float[N,4] y")
    assert (analysis.record.head.outputs, analysis.record.head.C) == ("f", 20)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(H, H @ exact("a20")), abs=SAME)


def test_expectation_by_convolution() -> None:
    """Detectors read the expectation of a distribution by a convolution of fixed weights."""
    body = "f = MatMul(h, a20)\n r = Reshape(f, maps)\n p = Softmax<axis = 1>(r)\n y = Conv(p, kernel)"
    assert find_head(read_model(model(body, "float[N,1,2,2] y"))).outputs.tensor == "f"


@pytest.mark.parametrize("layer", ["MatMul(p, matrix)", "MatMul(p, mixed)", "Gemm(p, grid5, c)"])
def test_layers_behind_a_softmax_are_listed(layer: str) -> None:
    """Weights that are no grid may be a trained layer: the error lists it and the layer before the softmax."""
    with pytest.raises(HeadError, match="2 possible heads") as caught:
        measured(SOFTMAX + f"y = {layer}", "float[N,M] y")
    assert "--features 'p' --outputs 'y'" in str(caught.value)
    assert "--features 'h' --outputs 'f'" in str(caught.value)


def test_embeddings_are_told() -> None:
    """An activation of the last linear layer with no layer behind it gets a warning; scores of classes get none."""
    for ending, operator in (
        ("y = Tanh(f)", "Tanh"),
        ("y = LpNormalization(f)", "LpNormalization"),
        ("n = ReduceL2<axes = [1]>(f)\n m = Max(n, c)\n y = Div(f, m)", "ReduceL2"),
        ("q = Mul(f, f)\n s = ReduceSum(q, last)\n r = Sqrt(s)\n y = Div(f, r)", "Sqrt"),
    ):
        notices = {notice.code: notice.message for notice in measured(LAYER + ending, "float[N,5] y").notices}
        assert notices["embedding_output"].startswith(f"{operator} follows the last linear layer")
    for ending in ("y = Identity(f)", "y = Softmax(f)", "y = Sigmoid(f)", "y = Clip(f, low, c)"):
        codes = [notice.code for notice in measured(LAYER + ending, "float[N,5] y").notices]
        assert "embedding_output" not in codes


DATA = "float[N,6] x, float[N,5] m"
OTHER_INPUTS = {
    "a condition": "g = Greater(m, low)\n y = Where(g, f, low)",
    "a bound": "q = ReduceMax<keepdims = 0>(m)\n y = Clip(f, low, q)",
    "a scale": "y = Mul(f, m)",
    "a choice of values": "k = ArgMax<axis = 1>(m)\n y = GatherElements<axis = 1>(f, k)",
    "a choice behind softmax": (
        "p = Softmax(f)\n q = ReduceMax<keepdims = 0>(m)\n k = Cast<to = 7>(q)\n y = Gather<axis = 0>(p, k)"
    ),
    "a shape": "q = Cast<to = 7>(m)\n k = ReduceMax<keepdims = 0, axes = [0]>(q)\n y = Expand(f, k)",
}


@pytest.mark.parametrize("case", OTHER_INPUTS)
def test_other_inputs_are_dead_ends(case: str) -> None:
    """Every input of an operator behind the head must be fixed, or a function of the head's outputs."""
    proto = build(HIDDEN + LAYER + OTHER_INPUTS[case], x=DATA, y="float[N,M] y", **WEIGHTS)
    with pytest.raises(HeadError, match=r"No head was found: at '(m|y)', "):
        find_head(read_model(proto))


FIXED_INPUTS = {
    "zeros of a shape": "s = Shape(f)\n k = ConstantOfShape(s)\n y = Max(f, k)",
    "a range of positions": (
        "s = Shape(f)\n n = Gather(s, zero)\n k = Expand(c, s)\n r = Cast<to = 1>(n)\n q = Mul(k, r)\n"
        " t = Tanh(q)\n y = Max(f, t)"
    ),
    "the shape of the input": "s = Shape(x)\n n = Gather(s, one)\n r = Cast<to = 1>(n)\n y = Min(f, r)",
    "a constant condition": "y = Where(mask, f, low)",
    "a table of classes": "k = ArgMax<axis = 1, keepdims = 0>(f)\n y = Gather(centres, k)",
}


@pytest.mark.parametrize("case", FIXED_INPUTS)
def test_shapes_are_fixed(case: str) -> None:
    """What descends from shapes and constants alone is no other way to the output."""
    assert find_head(read_model(model(LAYER + FIXED_INPUTS[case], "float[N,5] y"))).outputs.tensor == "f"


def test_other_outputs_are_named() -> None:
    """Outputs that the measured head does not give are named with the reason."""
    body = LAYER + "y = Softmax(f)\n v = CumSum(f, axis)\n u = Identity(h)"
    proto = build(HIDDEN + body, y="float[N,5] y, float[N,5] v, float[N,8] u", axis=np.int64(1), **WEIGHTS)
    analysis = onnxrich.run(proto, {"x": X}, device="cpu")
    (message,) = [notice.message for notice in analysis.notices if notice.code == "other_outputs"]
    assert "'v' (at 'v', operator CumSum is not known to follow a head)" in message
    assert "'u' (at 'z', " in message
    assert len(message) < 300
    assert "not that of all outputs" in onnxrich.inspect(proto).candidates[0].reason


def test_outputs_are_cut_to_fit() -> None:
    """The notice names as many outputs as fit, and says how many more there are."""
    names = [f"a_hidden_state_with_a_long_name_{k}" for k in range(30)]
    body = LAYER + "y = Softmax(f)\n " + "\n ".join(f"{name} = Identity(h)" for name in names)
    outputs = ", ".join(["float[N,5] y", *(f"float[N,8] {name}" for name in names)])
    head = find_head(read_model(build(HIDDEN + body, y=outputs, **WEIGHTS)))
    (notice,) = head.notices
    assert len(notice.message) < 300
    assert "more: `onnxrich inspect MODEL`" in notice.message


def test_pooled_features_of_an_encoder() -> None:
    """A pooling by a mask and a unit length behind a normalisation leave the model an encoder."""
    body = (
        "e = LayerNormalization(h, cent8)\n k = Mul(e, m)\n s = ReduceSum(k, zero)\n n = ReduceL2<axes = [1]>(s)\n"
        " y = Div(s, n)"
    )
    proto = build(HIDDEN + body, x="float[N,6] x, float[N,1] m", y="float[1,8] y", **WEIGHTS)
    with pytest.raises(HeadError, match=r"the model gives features, as encoders do.*--features 'y' --outputs 'y'\."):
        find_head(read_model(proto))


def test_features_of_an_encoder() -> None:
    """A model that ends in a normalisation gives features: the error says so, and which names measure them."""
    proto = build(HIDDEN + "y = LayerNormalization(h, cent8)", y="float[N,8] y", **WEIGHTS)
    with pytest.raises(HeadError, match=r"the model gives features, as encoders do.*--features 'y' --outputs 'y'\."):
        find_head(read_model(proto))
    assert onnxrich.run(proto, {"x": X}, device="cpu", features="y", outputs="y").metrics["effective_rank"] > 1
