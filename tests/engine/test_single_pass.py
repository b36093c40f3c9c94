"""Model and data in, moments out: the same numbers as a naive computation on features taken from the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from onnx import TensorProto, helper, numpy_helper
from zoo_text import build, refused

from onnxrich import run
from onnxrich.engine import monitor, sizing
from onnxrich.errors import DataError, HeadError, ModelError
from onnxrich.model.file import read_model
from onnxrich.model.head.head import find_head
from onnxrich.model.patch.instrument import instrument
from onnxrich.progress import Progress
from onnxrich.results.analysis import Analysis

# The patched model's float32 features differ from the hooked ones by rounding at most, 6e-8 each.
THROUGH_FLOAT32 = 1e-5

p, C, ROWS = 24, 5, 1003


def network(batch: int | str = "N", *, opset: int = 17, dtype: type = np.float32, mean: float = 0.0) -> onnx.ModelProto:
    """A 20-40-24-5 network with ReLU, a softmax behind it, and features with the given mean."""
    rng = np.random.default_rng(3)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = {
        "w0": rng.standard_normal((20, 40)) / 4, "b0": rng.standard_normal(40),
        "w1": rng.standard_normal((40, p)) / 6, "b1": rng.standard_normal(p), "shift": np.full(p, mean),
        "w2": rng.standard_normal((p, C)) / 5, "b2": rng.standard_normal(C),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["h0"]),
        helper.make_node("Gemm", ["h0", "w1", "b1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["h1"]),
        helper.make_node("Add", ["h1", "shift"], ["phi"]),
        helper.make_node("Gemm", ["phi", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, [batch, 20])],
        [helper.make_tensor_value_info("probabilities", kind, [batch, C])],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def hooked(model: onnx.ModelProto, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits, taken by declaring them as outputs: no code of onnxrich."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in ("phi", "logits"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    size = x.shape[0] if isinstance(session.get_inputs()[0].shape[0], str) else session.get_inputs()[0].shape[0]
    parts = [session.run(["phi", "logits"], {"x": x[i : i + size]}) for i in range(0, len(x) - size + 1, size)]
    return np.concatenate([a for a, _ in parts]).astype(float), np.concatenate([b for _, b in parts]).astype(float)


X = np.random.default_rng(5).standard_normal((ROWS, 20)).astype(np.float32)
Y = np.random.default_rng(6).integers(0, C, ROWS)


def analyze(model: onnx.ModelProto, x: np.ndarray = X, **options: object) -> Analysis:
    return run(model, {"x": x, "labels": Y[: len(x)]}, None, **{"device": "cpu"} | options)


def test_equals_the_definition() -> None:
    """Through a float32 model, D_LR is what n × n matrices of hooked features give."""
    features, outputs = hooked(network(), X)
    expected = oracle.d_lr(features, outputs, 1e-6)
    assert 0.1 < expected < 0.9
    assert analyze(network()).metrics["d_lr"] == pytest.approx(expected, abs=THROUGH_FLOAT32)


def test_moments_are_sums_of_products() -> None:
    """Every block of the matrix equals the plain sum over hooked rows, labels and accuracy included."""
    features, outputs = hooked(network(), X)
    moments = analyze(network(), batch_size=64).moments
    rows = np.concatenate([np.ones((ROWS, 1)), features, outputs, np.eye(C)[Y]], axis=1)
    scale = np.sqrt(np.outer((rows**2).sum(axis=0), (rows**2).sum(axis=0)))
    raw = moments.about(np.zeros_like(moments.shift)).matrix
    np.testing.assert_allclose(raw / scale, rows.T @ rows / scale, atol=THROUGH_FLOAT32)
    assert moments.tallies["correct"] == np.count_nonzero(outputs.argmax(axis=1) == Y)
    losses = np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(ROWS), Y]
    assert moments.tallies["cross_entropy"] == pytest.approx(losses.sum(), rel=THROUGH_FLOAT32)


@pytest.mark.parametrize("opset", [9, 13, 17])
def test_single_output(opset: int) -> None:
    """A single output is the logit of the second of two classes: hits and cross-entropy are those of the sigmoid."""
    model = network(opset=opset)
    for tensor in model.graph.initializer:
        if tensor.name in ("w2", "b2"):
            values = numpy_helper.to_array(tensor)[..., :1]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    model.graph.node[-1].CopyFrom(helper.make_node("Sigmoid", ["logits"], ["probabilities"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    _, logits = hooked(model, X)
    tallies = run(model, {"x": X, "labels": Y % 2}, batch_size=100, device="cpu").moments.tallies
    chance = 1 / (1 + np.exp(-logits[:, 0]))
    assert tallies["correct"] == np.count_nonzero((chance > 0.5) == Y % 2)
    losses = -np.log(np.where(Y % 2, chance, 1 - chance))
    assert tallies["cross_entropy"] == pytest.approx(losses.sum(), rel=THROUGH_FLOAT32)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1003, 5000])
def test_batch_size_does_not_matter(batch_size: int) -> None:
    """Whole and partial batches of any size give the same numbers, to rounding of the model in float32."""
    whole, cut = analyze(network(), batch_size=1003).metrics, analyze(network(), batch_size=batch_size).metrics
    for name, value in whole.items():
        if value is not None and name not in ("rank_gap_above", "rank_gap_below", "rank_tolerance"):
            assert cut[name] == pytest.approx(value, rel=THROUGH_FLOAT32), name


@pytest.mark.parametrize(("batch_size", "runs"), [(1, 16), (7, 8), (50, 1), (64, 1)])
def test_short_runs_share_a_product(batch_size: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the moments are wide, the rows of short runs are added together; the moments are the same."""
    whole = analyze(network(), batch_size=1003).moments
    monkeypatch.setattr(sizing, "SMALL_PRODUCT", 0)
    assert sizing.choose_batches_per_product(batch_size, 1 + p + 2 * C, n=ROWS, blocks=None) == runs
    together = analyze(network(), batch_size=batch_size).moments
    np.testing.assert_allclose(together.matrix, whole.about(together.shift).matrix, atol=ROWS * THROUGH_FLOAT32)
    assert together.tallies == pytest.approx(whole.tallies, rel=THROUGH_FLOAT32)
    assert together.n == ROWS


@pytest.mark.parametrize("batch", [1, 8])
def test_short_runs_of_a_fixed_size_share_a_product(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the model fixes its batch size and the last run is padded."""
    free = analyze(network())
    monkeypatch.setattr(sizing, "SMALL_PRODUCT", 0)
    fixed = analyze(stubborn(batch))
    assert fixed.moments.n == ROWS
    assert fixed.metrics["d_lr"] == pytest.approx(free.metrics["d_lr"], abs=THROUGH_FLOAT32)
    assert fixed.metrics["accuracy"] == free.metrics["accuracy"]


@pytest.mark.parametrize("batch", [1, 8, 2000])
def test_fixed_batch_dimension(batch: int) -> None:
    """Batches are padded to a fixed size and the padding counts for nothing: same numbers, same n."""
    free, fixed = analyze(network()), analyze(network(batch))
    assert fixed.moments.n == ROWS
    assert fixed.metrics["d_lr"] == pytest.approx(free.metrics["d_lr"], abs=THROUGH_FLOAT32)
    assert fixed.metrics["accuracy"] == free.metrics["accuracy"]


def stubborn(batch: int) -> onnx.ModelProto:
    """The network with its batch size written into a Reshape as well: there it can't be made symbolic."""
    model = network(batch)
    model.graph.initializer.append(numpy_helper.from_array(np.array([batch, p]), "rows"))
    model.graph.node[4].input[0] = "kept"
    model.graph.node.insert(4, helper.make_node("Reshape", ["h1", "rows"], ["kept"]))
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("batch", [1, 8, 100])
def test_open_batch_size_is_used(batch: int) -> None:
    """A batch size that only the signature fixes is made symbolic: batches are as large as for an open one."""
    free, fixed = analyze(network()), analyze(network(batch))
    assert fixed.record.runtime.batch_size == batch * max(1, free.record.runtime.batch_size // batch)
    assert analyze(network(batch), batch_size=300).record.runtime.batch_size == 300 // batch * batch
    assert fixed.metrics["d_lr"] == pytest.approx(free.metrics["d_lr"], abs=THROUGH_FLOAT32)


@pytest.mark.parametrize("batch", [1, 8, 100, 2000])
def test_fixed_batch_size_is_kept(batch: int) -> None:
    """A batch size that the model holds inside is kept: batches are padded, the padding counts for nothing."""
    free, fixed = analyze(network()), analyze(stubborn(batch))
    assert fixed.moments.n == ROWS
    assert fixed.record.runtime.batch_size == batch
    assert fixed.metrics["d_lr"] == pytest.approx(free.metrics["d_lr"], abs=THROUGH_FLOAT32)
    assert fixed.metrics["accuracy"] == free.metrics["accuracy"]


def test_fixed_batch_is_said() -> None:
    """Asking for another batch size than the model fixes is met with a notice."""
    codes = {notice.code for notice in analyze(stubborn(8), batch_size=32).notices}
    assert "fixed_batch" in codes
    assert not analyze(network(8), batch_size=30).notices


def test_rows_that_depend_on_their_batch() -> None:
    """A model that mixes the rows of a batch is refused: its numbers would depend on the order of the data."""
    model = network(4)
    model.graph.node[4].input[0] = "mixed"
    model.graph.node.insert(4, helper.make_node("ReduceMean", ["h1"], ["mean"], axes=[0], keepdims=1))
    model.graph.node.insert(5, helper.make_node("Sub", ["h1", "mean"], ["mixed"]))
    with refused(ModelError, "change with the other samples of its batch", "Export the model in evaluation mode"):
        analyze(model)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17, 21])
def test_opsets(opset: int) -> None:
    """The patch speaks the operator set of the model, whatever it is."""
    expected = analyze(network()).metrics["d_lr"]
    assert analyze(network(opset=opset)).metrics["d_lr"] == pytest.approx(expected, abs=THROUGH_FLOAT32)


def test_large_mean() -> None:
    """Features with |mean|/std = 1e6 in double still give D_LR to 1e-6: the sums run around a pilot shift."""
    expected = analyze(network(dtype=np.float64), X.astype(np.float64)).metrics["d_lr_centered"]
    moved = analyze(network(dtype=np.float64, mean=3e5), X.astype(np.float64))
    spread = np.sqrt(np.diag(moved.moments.centered("features", "features")) / ROWS)
    assert (moved.moments.mean("features") / spread).max() > 1e6
    assert moved.metrics["d_lr_centered"] == pytest.approx(expected, abs=1e-6)


def many_outputs() -> onnx.ModelProto:
    """A network with four features and nine outputs, with a bias."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((20, 4)) / 4, "v": rng.standard_normal((4, 9)), "b": rng.standard_normal(9) + 5,
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["phi"]),
        helper.make_node("Gemm", ["phi", "v", "b"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 20), ("logits", 9))
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "many", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def test_more_outputs_than_features_follow_from_them() -> None:
    """With C > p the outputs are not summed: their moments come from W and b, and are those of the hooked outputs."""
    features, outputs = hooked(many_outputs(), X)
    results = analyze(many_outputs())
    rows = np.concatenate([np.ones((ROWS, 1)), features, outputs, np.eye(9)[Y]], axis=1)
    scale = np.sqrt(np.outer((rows**2).sum(axis=0), (rows**2).sum(axis=0))) + 1e-300
    blocks = ("one", "features", "outputs", "targets")
    raw = np.block([[results.moments.raw(a, b) for b in blocks] for a in blocks])
    np.testing.assert_allclose(raw / scale, rows.T @ rows / scale, atol=THROUGH_FLOAT32)
    np.testing.assert_array_equal(results.moments.matrix, results.moments.matrix.T)
    assert results.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs, 1e-6), abs=THROUGH_FLOAT32)
    assert results.moments.tallies["correct"] == np.count_nonzero(outputs.argmax(axis=1) == Y)


def test_derived_outputs_are_not_summed() -> None:
    """The sums of a patch with derived outputs are as wide as [1, φ, y]."""
    model = read_model(many_outputs())
    head = find_head(model)
    assert instrument(model, head, K=9).edges[-1] == 1 + 4 + 9 + 9
    assert instrument(model, head, K=9, derived=True).edges[-1] == 1 + 4 + 9


def test_wide_features_use_several_tiles() -> None:
    """The matrix of 700 features is summed in tiles; it is the same matrix."""
    rng = np.random.default_rng(0)
    w, v = (rng.standard_normal(shape).astype(np.float32) / 8 for shape in ((20, 700), (700, 4)))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["phi"]),
        helper.make_node("MatMul", ["phi", "v"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 20), ("logits", 4))
    ]
    tensors = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(v, "v")]
    graph = helper.make_graph(nodes, "wide", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    features, outputs = hooked(model, X)
    moments = analyze(model).moments
    rows = np.concatenate([np.ones((ROWS, 1)), features, outputs, np.eye(C)[Y]], axis=1)
    raw = moments.about(np.zeros_like(moments.shift)).matrix
    np.testing.assert_allclose(raw, rows.T @ rows, atol=ROWS * THROUGH_FLOAT32)
    np.testing.assert_array_equal(moments.matrix, moments.matrix.T)


def test_regression_targets() -> None:
    """Real targets of two columns stand in the moments as they are."""
    targets = np.random.default_rng(0).standard_normal((ROWS, 2)) + 100
    results = run(network(), X, targets, batch_size=64, device="cpu")
    np.testing.assert_allclose(results.moments.raw("targets", "targets"), targets.T @ targets, rtol=1e-12)
    assert results.metrics["nc1"] is None
    assert results.curves.quality is not None


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener hears the stages, and rows, rate and the running D_LR while batches run."""
    monkeypatch.setattr(monitor, "D_LR_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "D_LR_RATE", np.inf)
    heard: list[Progress] = []
    result = analyze(network(), batch_size=100, progress=heard.append)
    running = [progress for progress in heard if progress.stage == "running"]
    assert running[-1].total == ROWS
    assert running[-1].rate > 0
    running_d_lr = [progress.d_lr for progress in running if progress.d_lr is not None]
    assert running_d_lr[0] == pytest.approx(result.metrics["d_lr"], abs=0.3)


def test_not_finite_names_the_row() -> None:
    """NaN in the data is an error that names the input and the row, also far behind the first batch."""
    x = X.copy()
    x[777, 3] = np.nan
    with pytest.raises(DataError, match="input 'x' is not finite in row 777, so the features are not finite"):
        analyze(network(), x, batch_size=50)


def test_features_of_two_runs_are_the_same_to_the_bit(tmp_path: Path) -> None:
    """The same model, data and batch size give the same bytes."""
    for name in ("a", "b"):
        analyze(network(), batch_size=64).moments.save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def turned(batch: str) -> onnx.ModelProto:
    """A model that puts its 16 tokens before the samples, and its outputs back."""
    body = "t = Transpose <perm = [1, 0, 2]> (x)\n a = MatMul(t, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(body, x=f"float[{batch},16,6] x", y=f"float[16,{batch},3] y")


@pytest.mark.parametrize("size", [7, 16, 17])
def test_as_many_tokens_as_samples(size: int) -> None:
    """Where tokens come first, labels fall on their own rows, also when a batch has as many samples."""
    x = np.random.default_rng(0).standard_normal((48, 16, 6)).astype(np.float32)
    proto = turned("N")
    (outputs,) = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    labels = outputs.argmax(axis=2).T
    results = run(proto, {"x": x}, labels, device="cpu", batch_size=size)
    assert results.metrics["accuracy"] == 1.0
    fixed = run(turned("16"), {"x": x[:40]}, labels[:40], device="cpu")
    assert (fixed.metrics["accuracy"], fixed.moments.n) == (1.0, 40 * 16)


def test_samples_that_nothing_tells_from_tokens() -> None:
    """Where all samples of the first batch are alike, and all tokens, no axis is guessed."""
    x, labels = np.ones((48, 16, 6), np.float32), np.zeros((48, 16), int)
    # Batches of other sizes tell.
    assert run(turned("N"), {"x": x}, labels, device="cpu", batch_size=16).moments.n == 48 * 16
    with refused(HeadError, "features of shape (16, 16, 8)", "Export the model with a dynamic batch dimension."):
        run(turned("16"), {"x": x}, device="cpu")


@pytest.mark.parametrize("rows", [48, 41])
def test_inputs_without_rows_stay(rows: int) -> None:
    """A table of the 16 tokens, large beside the samples, is none of them: it is neither turned, cut nor padded."""
    body = (
        "t = Transpose <perm = [1, 0, 2]> (x)\n s = Add(t, pos)\n a = MatMul(s, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    )
    proto = build(body, x="float[N,16,6] x, float[16,1,6] pos", y="float[16,N,3] y")
    rng = np.random.default_rng(0)
    x, pos = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, 16, 6), (16, 1, 6)))
    data = {"x": x, "pos": 1000 * pos}
    labels = ort.InferenceSession(proto.SerializeToString()).run(None, data)[0].argmax(axis=2).T
    results = run(proto, data, labels, device="cpu", batch_size=16)
    assert (results.metrics["accuracy"], results.moments.n) == (1.0, rows * 16)


def test_one_sample_at_a_time() -> None:
    """A model that takes a single sample, whatever its shapes say, is run with one."""
    body = "o = Reshape(x, one)\n a = MatMul(o, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    proto = build(body, x="float[N,1,6] x", y="float[1,1,3] y", one=np.array([1, 1, 6]))
    x = np.random.default_rng(0).standard_normal((48, 1, 6)).astype(np.float32)
    assert run(proto, {"x": x}, device="cpu", batch_size=1).moments.n == 48
