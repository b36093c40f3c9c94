"""The head is found by structure, proved by running, and never guessed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxrich.engine.runtime import Session, choose_device
from onnxrich.errors import HeadError
from onnxrich.model import file as model
from onnxrich.model.file import Model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

# Products of float32 numbers of size one, summed over some ten features and compared in double.
FLOAT32 = 1e-5

RNG = np.random.default_rng(7)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 8)),
    "w2": RNG.standard_normal((8, 3)),
    "w2t": RNG.standard_normal((3, 8)),
    "b2": RNG.standard_normal(3),
    "b3": RNG.standard_normal(3) + 4,
    "b1": RNG.standard_normal(1),
    "t": np.array(0.5),
    "k": RNG.standard_normal((8, 2, 3, 3)),
    "k1": RNG.standard_normal((3, 8, 1, 1)),
    "w6": RNG.standard_normal((6, 3)),
    "axis_1": np.array([1]),
    "rows_3": np.array([-1, 3]),
    "rows_8": np.array([-1, 8]),
    "flat": np.array([1, -1]),
}
HIDDEN = "h = MatMul(x, w1)\n r = Relu(h)\n"
MAPS = "a = Conv<pads=[1,1,1,1]>(x, k)\n r = Relu(a)\n"


def build(body: str, *, out: str = "float[N,3] y", x: str = "float[N,6] x", opset: int = 17) -> Model:
    """A model from ONNX text, with the weights that it names."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => ({out}) {{\n {body}\n}}'
    proto = parser.parse_model(text)
    used = {name for node in proto.graph.node for name in node.input}
    tensors = [
        numpy_helper.from_array(v if v.dtype == np.int64 else v.astype(np.float32), n)
        for n, v in WEIGHTS.items()
        if n in used
    ]
    proto.graph.initializer.extend(tensors)
    onnx.checker.check_model(proto)
    return model.read_model(proto)


def rows_of(read: Model, found: head.Head, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and outputs that the patched model gives."""
    patch = rewrite.instrument(read, found)
    live = Session([read.data, patch.data], folder=None, device=choose_device("cpu"), name="test")
    feed = {name: np.zeros(shape) for name, shape in zip(patch.accumulators, patch.shapes, strict=True)}
    feed |= {"x": x, patch.shift: np.zeros((1, patch.edges[-1]))}
    features, outputs = live.run([patch.features, patch.outputs], feed)
    return features.astype(float), outputs.astype(float)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


W1, W2, W2T, B2, B3, B1 = (
    WEIGHTS[name].astype(np.float32).astype(float) for name in ("w1", "w2", "w2t", "b2", "b3", "b1")
)

# Each: the graph behind the hidden layer r, the tensors of the head, and the outputs that NumPy says it gives.
STYLES = {
    "gemm": ("y = Gemm(r, w2, b2)", "y", lambda r: r @ W2 + B2),
    "gemm transB alpha beta": (
        "y = Gemm<transB=1, alpha=2.0, beta=0.5>(r, w2t, b2)",
        "y",
        lambda r: 2 * (r @ W2T.T) + B2 / 2,
    ),
    "gemm without bias": ("y = Gemm(r, w2)", "y", lambda r: r @ W2),
    "gemm scalar bias": ("y = Gemm(r, w2, b1)", "y", lambda r: r @ W2 + B1),
    "matmul": ("y = MatMul(r, w2)", "y", lambda r: r @ W2),
    "matmul add": ("m = MatMul(r, w2)\n y = Add(m, b2)", "y", lambda r: r @ W2 + B2),
    "add matmul": ("m = MatMul(r, w2)\n y = Add(b2, m)", "y", lambda r: r @ W2 + B2),
    "matmul sub": ("m = MatMul(r, w2)\n y = Sub(b2, m)", "y", lambda r: B2 - r @ W2),
    "temperature": ("m = Gemm(r, w2, b2)\n y = Div(m, t)", "m", lambda r: r @ W2 + B2),
    "scale of each output": ("m = Gemm(r, w2, b2)\n y = Mul(m, b3)", "y", lambda r: (r @ W2 + B2) * B3),
    "softmax": ("f = Gemm(r, w2, b2)\n y = Softmax<axis=1>(f)", "f", lambda r: r @ W2 + B2),
    "scaled softmax": ("f = Gemm(r, w2, b2)\n s = Mul(t, f)\n y = LogSoftmax<axis=1>(s)", "f", lambda r: r @ W2 + B2),
    "decomposed softmax": (
        "f = Gemm(r, w2, b2)\n m = ReduceMax<axes=[1]>(f)\n s = Sub(f, m)\n e = Exp(s)\n"
        " z = ReduceSum(e, axis_1)\n y = Div(e, z)\n",
        "f",
        lambda r: r @ W2 + B2,
    ),
    "transposed weight": ("w = Transpose(w2t)\n y = MatMul(r, w)", "y", lambda r: r @ W2T.T),
    "cast weight": ("w = Cast<to=1>(w2)\n i = Identity(w)\n y = MatMul(r, i)", "y", lambda r: r @ W2),
    "dropout and reshape": (
        "d = Dropout(r)\n f = Gemm(d, w2, b2)\n i = Identity(f)\n s = Reshape(i, rows_3)\n y = Sigmoid(s)",
        "f",
        lambda r: r @ W2 + B2,
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    """Features are the hidden layer, outputs are what NumPy computes, and W φ + b explains them."""
    body, outputs, expected = STYLES[style]
    read = build(HIDDEN + body)
    found = head.find_head(read)
    assert found.outputs.tensor == outputs
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    features, f = rows_of(read, found, x)
    hidden = relu(x.astype(float) @ W1)
    np.testing.assert_allclose(features, hidden, atol=FLOAT32)
    np.testing.assert_allclose(f, expected(hidden), atol=10 * FLOAT32)
    distance = head.affine_residual(found, features, f)
    assert distance is not None
    assert distance < head.allowed_residual(found) < 1e-3


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
    read = build(MAPS + POOLED[style], x="float[N,2,5,4] x")
    x = np.random.default_rng(0).standard_normal((6, 2, 5, 4)).astype(np.float32)
    features, f = rows_of(read, head.find_head(read), x)
    expected = convolve(x).mean(axis=(2, 3))
    np.testing.assert_allclose(features, expected, atol=FLOAT32)
    np.testing.assert_allclose(f, expected @ K1.T + B2, atol=10 * FLOAT32)


def test_positions() -> None:
    """A 1 × 1 convolution that nothing pools makes every position a row."""
    read = build(MAPS + "f = Conv(r, k1)\n y = Softmax<axis=1>(f)", x="float[N,2,5,4] x", out="float[N,3,5,4] y")
    x = np.random.default_rng(0).standard_normal((6, 2, 5, 4)).astype(np.float32)
    features, f = rows_of(read, head.find_head(read), x)
    expected = convolve(x).transpose(0, 2, 3, 1).reshape(-1, 8)
    np.testing.assert_allclose(features, expected, atol=FLOAT32)
    np.testing.assert_allclose(f, expected @ K1.T, atol=10 * FLOAT32)


REFUSED = {
    "computed weight": ("w = Relu(w2)\n y = MatMul(r, w)", "computed from the input"),
    "residual sum": (
        "f = Gemm(r, w2, b2)\n q = MatMul(x, w6)\n s = Tanh(q)\n y = Add(f, s)",
        "acts on the model's input",
    ),
    "no layer before": ("y = MatMul(x, w6)", "there is no layer before it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """Without one linear layer behind the outputs there is an error that says why and what to type."""
    body, reason = REFUSED[case]
    read = build(HIDDEN + body)
    with pytest.raises(HeadError) as caught:
        head.find_head(read)
    assert reason in str(caught.value)
    assert "--features NAME" in caught.value.remedy
    assert "MatMul: --features 'r'" in caught.value.remedy or "MatMul: --features 'x'" in caught.value.remedy


TWO = HIDDEN + "y = Gemm(r, w2, b2)\n z = Gemm<transB=1>(r, w2t, b2)"


def test_several_heads_are_listed() -> None:
    """Two heads are an error that names both; --outputs chooses."""
    read = build(TWO, out="float[N,3] y, float[N,3] z")
    with pytest.raises(HeadError, match="The model has 2 possible heads") as caught:
        head.find_head(read)
    assert "'y'" in str(caught.value)
    assert "'z'" in str(caught.value)
    assert head.find_head(read, outputs="z").outputs.tensor == "z"


def test_hidden_layer_as_output() -> None:
    """A model that also shows a hidden layer has one head all the same: the last."""
    read = build(HIDDEN + "y = Gemm(r, w2, b2)", out="float[N,3] y, float[N,8] h")
    assert head.find_head(read).outputs.tensor == "y"


def test_chosen_features() -> None:
    """A tensor that the user names is taken as it is, without the claim that W and b explain the outputs."""
    read = build(HIDDEN + "y = Gemm(r, w2, b2)")
    found = head.find_head(read, features="h")
    assert isinstance(found, head.UnmeasuredHead)
    assert (found.features.tensor, found.outputs.tensor) == ("h", "y")
    assert head.find_head(read, features="r").affine is not None
    assert head.find_head(read, features="r", number=1).affine is not None


def test_chosen_features_of_a_numbered_head() -> None:
    """A number and features that belong to no head are two answers to one question."""
    with pytest.raises(
        HeadError, match=r"Head 1 was asked for with features 'h', which belong to no head.*Leave out --head"
    ):
        head.find_head(build(HIDDEN + "y = Gemm(r, w2, b2)"), features="h", number=1)


def test_unknown_name() -> None:
    """A name that is not there is met with names that are like it."""
    read = build(HIDDEN + "logits = Gemm(r, w2, b2)", out="float[N,3] logits")
    with pytest.raises(HeadError, match=r"The model has no tensor 'logit'; .*'logits'"):
        head.find_head(read, features="logit")


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
    other = build(body)
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    for a, b in zip(rows_of(plain, head.find_head(plain), x), rows_of(other, head.find_head(other), x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_constants_are_noticed() -> None:
    """The residual of a head whose W is not the graph's is large: the check can fail."""
    read = build(HIDDEN + "y = Gemm(r, w2, b2)")
    found = head.find_head(read)
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    features, outputs = rows_of(read, found, x)
    distance = head.affine_residual(found, features, outputs * 1.001)
    assert distance is not None
    assert distance > head.allowed_residual(found)


def test_patch_is_checker_clean() -> None:
    """The patched model passes the checker with full shape inference, and its weights are untouched."""
    read = build(HIDDEN + "y = Gemm(r, w2, b2)")
    patch = rewrite.instrument(read, head.find_head(read), K=3, with_tallies=True, masked=True)
    patched = onnx.load_model_from_string(read.data + patch.data)
    onnx.checker.check_model(patched, full_check=True)
    assert patched.graph.initializer[: len(read.proto.graph.initializer)] == list(read.proto.graph.initializer)


def test_names_of_the_patch_are_free() -> None:
    """A model that already uses onnxrich's names is patched under others."""
    read = build(HIDDEN + "y = Gemm(r, w2, b2)")
    found = head.find_head(read)
    once = read.data + rewrite.instrument(read, found).data
    twice = rewrite.instrument(model.read_model(once), found)
    onnx.checker.check_model(onnx.load_model_from_string(once + twice.data), full_check=True)
