"""Hidden layers: each number is the definition's, on rows that NumPy computes by hand in double."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from onnx import numpy_helper, parser

import onnxrich
from onnxrich.engine.sizing import choose_batches_per_product
from onnxrich.errors import DataError, HeadError
from onnxrich.results.provenance import Provenance

RNG = np.random.default_rng(11)
N, T = 96, 5
WEIGHTS: dict[str, np.ndarray] = {
    "w1": RNG.standard_normal((6, 9)), "b1": RNG.standard_normal(9), "w2": RNG.standard_normal((9, 7)) / 3,
    "w3": RNG.standard_normal((7, 3)), "w4": RNG.standard_normal((7, 7)) / 3,
    "k1": RNG.standard_normal((4, 2, 3, 3)) / 2, "k2": RNG.standard_normal((4, 4, 3, 3)) / 4,
    "wc": RNG.standard_normal((4, 3)), "rows": np.array([-1, 4]), "first": np.array(0), "half": np.array(0.5),
    "one": np.array(1.0), "root": np.array(2**0.5), "positions": np.array([1]),
}  # fmt: skip
# A model computes in float32: its rows are off by some √p·eps(float32) = 4e-7 of their size. D_LR moves by as much
# times the condition of the outputs' span, which is below 100 for these weights.
FLOAT32 = 1e-4


def build(body: str, *, x: str, out: str = "float[N,3] y", opset: int = 17) -> bytes:
    """A model from ONNX text, with the weights that it names."""
    text = f'<ir_version: {3 if opset < 10 else 8}, opset_import: ["" : {opset}]> g ({x}) => ({out}) {{\n {body}\n}}'
    proto = parser.parse_model(text)
    for name in dict.fromkeys(name for node in proto.graph.node for name in node.input):
        if name in WEIGHTS:
            value = WEIGHTS[name]
            array = value if value.dtype == np.int64 else value.astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
            if opset < 10:
                value_info = onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                proto.graph.input.append(value_info)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def weight(name: str) -> np.ndarray:
    return WEIGHTS[name].astype(np.float32).astype(np.float64)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A 3 × 3 convolution with a padding of one, by its definition."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = x.shape[2:]
    windows = [padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return np.einsum("knchw,ock->nohw", np.stack(windows), kernel.reshape(*kernel.shape[:2], 9))


def analyze(data: bytes, inputs: dict[str, np.ndarray], labels: Any = None, **options: Any) -> dict[str, Any]:
    """The layers of a model by name."""
    options = {"layers": "all", "device": "cpu", "batch_size": 16} | options
    analysis = onnxrich.run(data, inputs, labels, **options)
    return {layer.name: layer for layer in analysis.layers}


def check(layer: Any, features: np.ndarray, outputs: np.ndarray) -> None:
    """The numbers of a layer are those of rows."""
    assert layer.p == features.shape[1]
    assert layer.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=FLOAT32)
    assert layer.metrics["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=FLOAT32)
    assert layer.metrics["utilized_variance"] == pytest.approx(oracle.utilized_variance(features, outputs), abs=FLOAT32)
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    assert np.array(layer.spectrum) == pytest.approx(values / values.sum(), abs=FLOAT32)


MLP = "h1 = Gemm(x, w1, b1)\n a1 = Relu(h1)\n h2 = MatMul(a1, w2)\n a2 = Tanh(h2)\n y = MatMul(a2, w3)"


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21])
def test_layers_of_an_mlp(opset: int) -> None:
    """Each activation is a layer, measured on its own rows against the outputs of the head; the last is the head's."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    by_name = analyze(build(MLP, x="float[N,6] x", opset=opset), {"x": x}, RNG.integers(0, 3, N))
    first = relu(x @ weight("w1") + weight("b1"))
    second = np.tanh(first @ weight("w2"))
    outputs = second @ weight("w3")
    assert list(by_name) == ["a1", "a2"]
    check(by_name["a1"], first, outputs)
    check(by_name["a2"], second, outputs)
    assert (by_name["a1"].rows, by_name["a1"].operator) == ("as it is", "Gemm+Relu")
    assert by_name["a2"].operator == "features of the head"


CNN = """c1 = Conv<pads=[1,1,1,1]>(x, k1)
 r1 = Relu(c1)
 c2 = Conv<pads=[1,1,1,1]>(r1, k2)
 s = Add(c2, r1)
 r2 = Relu(s)
 g = GlobalAveragePool(r2)
 v = Reshape(g, rows)
 y = MatMul(v, wc)"""


@pytest.mark.parametrize("opset", [7, 13, 18, 21])
def test_layers_of_a_cnn(opset: int) -> None:
    """Maps are averaged over their positions; a convolution whose only use is a sum is told as that sum."""
    x = RNG.standard_normal((N, 2, 6, 5)).astype(np.float32)
    by_name = analyze(build(CNN, x="float[N,2,6,5] x", opset=opset), {"x": x}, layers=["r1", "r2"])
    first = relu(convolve(x.astype(np.float64), weight("k1")))
    second = relu(convolve(first, weight("k2")) + first)
    outputs = second.mean((2, 3)) @ weight("wc")
    check(by_name["r1"], first.mean((2, 3)), outputs)
    check(by_name["r2"], second.mean((2, 3)), outputs)
    assert by_name["r2"].operator == "Add+Relu"
    assert by_name["r1"].rows == "mean over positions"
    assert list(analyze(build(CNN, x="float[N,2,6,5] x", opset=opset), {"x": x})) == ["r1", "v"]


def test_channels_last_maps() -> None:
    """Behind a Transpose features are the last axis, and the mean runs over the others."""
    body = CNN.replace("x, k1", "t, k1").replace("c1 =", "t = Transpose<perm=[0,3,1,2]>(x)\n c1 =")
    body = body.replace("s = Add(c2, r1)\n r2 = Relu(s)", "u = Transpose<perm=[0,2,3,1]>(c2)\n r2 = Relu(u)")
    body = body.replace(
        "g = GlobalAveragePool(r2)\n v = Reshape(g, rows)", "v = ReduceMean<axes=[1,2], keepdims=0>(r2)"
    )
    x = RNG.standard_normal((N, 6, 5, 2)).astype(np.float32)
    by_name = analyze(build(body, x="float[N,6,5,2] x"), {"x": x}, layers=["r1", "r2"])
    first = relu(convolve(x.astype(np.float64).transpose(0, 3, 1, 2), weight("k1")))
    second = relu(convolve(first, weight("k2")))
    check(by_name["r2"], second.mean((2, 3)), second.mean((2, 3)) @ weight("wc"))
    assert by_name["r2"].rows == "mean over positions"


TOKENS = """h1 = MatMul(x, w1)
 b = Add(h1, b1)
 d = Div(b, root)
 e = Erf(d)
 f = Add(e, one)
 m = Mul(b, f)
 a1 = Mul(m, half)
 h2 = MatMul(a1, w2)
 a2 = Tanh(h2)
 q = MatMul(a2, w4)
 a3 = Add(q, a2)"""
CHOSEN = TOKENS + "\n c = Gather<axis=1>(a3, first)\n y = MatMul(c, w3)"


def tokens(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three layers of TOKENS."""
    from math import erf

    before = x.astype(np.float64) @ weight("w1") + weight("b1")
    first = before / 2 * (1 + np.vectorize(erf)(before / weight("root")))
    second = np.tanh(first @ weight("w2"))
    return first, second, second @ weight("w4") + second


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_layers_of_tokens_are_averaged_over_the_mask(opset: int) -> None:
    """With a head of samples, tokens are averaged over those that the attention mask leaves; or one is chosen."""
    x = RNG.standard_normal((N, T, 6)).astype(np.float32)
    mask = (np.arange(T) < RNG.integers(1, T + 1, (N, 1))).astype(np.int64)
    mask[3] = 0  # a sample of padding alone has zeros for its mean
    body = CHOSEN.replace("h1 =", "i = Cast<to=1>(attention_mask)\n h1 =")
    data = build(body + "\n z = Identity(i)", x=f"float[N,{T},6] x, int64[N,{T}] attention_mask",
                 out=f"float[N,3] y, float[N,{T}] z", opset=opset)  # fmt: skip
    layers = tokens(x)
    outputs = layers[2][:, 0] @ weight("w3")
    share = mask / np.maximum(mask.sum(1, keepdims=True), 1)
    by_name = analyze(data, {"x": x, "attention_mask": mask}, outputs="y")
    assert list(by_name) == ["a1", "a2", "a3", "c"]
    for name, layer in zip(("a1", "a2", "a3"), layers, strict=True):
        assert by_name[name].rows == "masked mean over tokens"
        check(by_name[name], np.einsum("nt,ntp->np", share, layer), outputs)
    assert by_name["a1"].operator == "MatMul+Add+…+Mul"
    by_name = analyze(data, {"x": x, "attention_mask": mask}, outputs="y", token=-2)
    assert by_name["a2"].rows == "token -2"
    check(by_name["a2"], layers[1][:, -2], outputs)


def test_layers_of_tokens_without_a_mask() -> None:
    """Without a mask all tokens count."""
    x = RNG.standard_normal((N, T, 6)).astype(np.float32)
    layers = tokens(x)
    by_name = analyze(build(CHOSEN, x=f"float[N,{T},6] x"), {"x": x})
    assert by_name["a1"].rows == "mean over tokens"
    check(by_name["a1"], layers[0].mean(1), layers[2][:, 0] @ weight("w3"))


def test_a_head_of_tokens_has_layers_of_tokens() -> None:
    """Where the head's rows are tokens the layers' are, in the same order, and padding is left out of both."""
    x = RNG.standard_normal((N, T, 6)).astype(np.float32)
    mask = (np.arange(T) < RNG.integers(1, T + 1, (N, 1))).astype(np.int64)
    data = build(
        TOKENS + "\n y = MatMul(a3, w3)\n z = Cast<to=1>(attention_mask)",
        x=f"float[N,{T},6] x, int64[N,{T}] attention_mask", out=f"float[N,{T},3] y, float[N,{T}] z",
    )  # fmt: skip
    by_name = analyze(data, {"x": x, "attention_mask": mask}, outputs="y")
    layers = [layer[mask == 1] for layer in tokens(x)]
    assert list(by_name) == ["a1", "a2", "a3"]
    assert by_name["a1"].rows == "each row"
    check(by_name["a1"], layers[0], layers[2] @ weight("w3"))
    check(by_name["a3"], layers[2], layers[2] @ weight("w3"))


def test_intervals_hold_what_the_blocks_say() -> None:
    """Each layer has an interval about its D_LR, unless blocks are left out; the head's are the analysis's own."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    data = build(MLP, x="float[N,6] x")
    analysis = onnxrich.run(data, {"x": x}, layers="all", device="cpu", batch_size=8)
    for layer in analysis.layers:
        assert layer.intervals["d_lr"].low < layer.metrics["d_lr"] < layer.intervals["d_lr"].high
    assert analysis.layers[-1].metrics["d_lr"] == analysis.metrics["d_lr"]
    assert analysis.layers[-1].intervals["d_lr"] == analysis.uncertainty.intervals["d_lr"]  # type: ignore[union-attr]
    without = onnxrich.run(data, {"x": x}, layers="all", device="cpu", batch_size=8, blocks=0)
    assert not without.layers[0].intervals
    assert without.layers[0].metrics["d_lr"] == pytest.approx(analysis.layers[0].metrics["d_lr"], rel=1e-12)


def test_layers_leave_the_head_as_it_is() -> None:
    """What is measured of the head is the same to the bit with layers and without."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    data, labels = build(MLP, x="float[N,6] x"), RNG.integers(0, 3, N)
    options: dict[str, Any] = {"device": "cpu", "batch_size": 8}
    with_layers = onnxrich.run(data, {"x": x}, labels, layers="all", **options)
    assert with_layers.metrics == onnxrich.run(data, {"x": x}, labels, **options).metrics


def test_rows_of_short_runs_are_added_together() -> None:
    """Where several runs are added by one product, those of layers are too: the numbers are those of whole batches."""
    width = 300
    WEIGHTS["wide"], WEIGHTS["narrow"] = RNG.standard_normal((9, width)), RNG.standard_normal((width, 3))
    body = "h1 = MatMul(x, w1)\n a1 = Relu(h1)\n h2 = MatMul(a1, wide)\n a2 = Relu(h2)\n y = MatMul(a2, narrow)"
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    data, labels = build(body, x="float[N,6] x"), RNG.integers(0, 3, N)
    assert choose_batches_per_product(8, 1 + width + 3 + 3, n=N, blocks=0) == 12
    short = analyze(data, {"x": x}, labels, batch_size=8, blocks=0)
    whole = analyze(data, {"x": x}, labels, batch_size=N, blocks=0)
    first = relu(x @ weight("w1"))
    check(short["a1"], first, relu(first @ weight("wide")) @ weight("narrow"))
    for name in ("d_lr", "nc1", "probe_r2", "effective_rank"):
        assert short["a1"].metrics[name] == pytest.approx(whole["a1"].metrics[name], rel=1e-5)


def test_layers_survive_saving(tmp_path: Path) -> None:
    """Layers are in the document, and in what is loaded again."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    analysis = onnxrich.run(build(MLP, x="float[N,6] x"), {"x": x}, layers="all", device="cpu")
    analysis.save(tmp_path / "out")
    again = onnxrich.Analysis.load(tmp_path / "out" / "moments.npz")
    assert again.layers == analysis.layers
    assert [layer["name"] for layer in analysis.to_dict()["layers"]] == ["a1", "a2"]
    assert onnxrich.run(build(MLP, x="float[N,6] x"), {"x": x}, device="cpu").to_dict()["layers"] == []


def test_layers_of_a_fixed_batch_size() -> None:
    """Rows that fill up the last batch of a model with a fixed batch size count in no layer."""
    x = RNG.standard_normal((N - 3, 6)).astype(np.float32)
    body = MLP.replace("a2 = Tanh(h2)", "r = Reshape(h2, eights)\n a2 = Tanh(r)")
    WEIGHTS["eights"] = np.array([8, 7])
    by_name = analyze(build(body, x="float[8,6] x", out="float[8,3] y"), {"x": x}, batch_size=None)
    first = relu(x @ weight("w1") + weight("b1"))
    check(by_name["a1"], first, np.tanh(first @ weight("w2")) @ weight("w3"))


def test_unknown_layer() -> None:
    """An unknown name is an error with names that are near."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    with pytest.raises(
        HeadError, match=r"The model has no layer 'a9'; .*Did you mean one of .*a1.*inspect MODEL --layers"
    ):
        analyze(build(MLP, x="float[N,6] x"), {"x": x}, layers=["a9"])


def test_a_named_layer_without_rows_is_refused() -> None:
    """A layer that is named and has no rows like the head's is an error with the reason."""
    body = MLP.replace("y =", "w = Transpose<perm=[1,0]>(a1)\n p = MatMul(w, a1)\n y =")
    data = build(body + "\n z = Identity(p)", x="float[N,6] x", out="float[N,3] y, float[9,9] z")
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    with pytest.raises(HeadError, match=r"layer 'p': no axis of its shape \(9, 9\) runs over the samples"):
        analyze(data, {"x": x}, layers=["p"], outputs="y")


def test_tokens_need_layers() -> None:
    """A token without layers, or of layers without tokens, is an error."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    with pytest.raises(DataError, match="token 0 without layers"):
        onnxrich.run(build(MLP, x="float[N,6] x"), {"x": x}, token=0)
    with pytest.raises(HeadError, match="no layer has a token 0"):
        analyze(build(MLP, x="float[N,6] x"), {"x": x}, token=0)


def test_layers_in_a_file_are_not_trusted() -> None:
    """A damaged layer makes the record invalid; metrics that there are no more are left out."""
    x = RNG.standard_normal((N, 6)).astype(np.float32)
    analysis = onnxrich.run(build(MLP, x="float[N,6] x"), {"x": x}, layers="all", device="cpu")
    saved = analysis.record.to_dict()
    saved["layers"][0]["metrics"]["gone"] = 1.0
    assert Provenance.from_dict(saved).layers == analysis.layers
    for damaged in ({"p": "many"}, {"metrics": 3}, {"intervals": {"d_lr": {"error": 1}}}, {"spectrum": [None]}):
        with pytest.raises(DataError, match="a record without a valid"):
            Provenance.from_dict(saved | {"layers": [saved["layers"][0] | damaged]})
