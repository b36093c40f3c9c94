"""Rows belong to samples, wherever these lie; models whose rows depend on their batch, or on chance, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from onnxruntime.quantization import quantize_dynamic
from zoo_text import build, refused, two_layers, whole

import onnxrich
from onnxrich.engine.proof import SAMPLES
from onnxrich.engine.runtime import RunError, Session
from onnxrich.errors import ModelError

STEPS, WIDTH = 9, 6
RNG = np.random.default_rng(7)
W1, W2 = whole(WIDTH, 8, seed=1).astype(float), whole(8, 3, seed=2).astype(float)
# Sums over time that no other order of the rows would give.
SEQUENCES = RNG.standard_normal((70, STEPS, WIDTH)).astype(np.float32)
ROWS = RNG.standard_normal((200, WIDTH)).astype(np.float32)


def features_of(x: np.ndarray) -> np.ndarray:
    """φ of each row or token in double."""
    return np.maximum(x.astype(float) @ W1, 0)


def expected(x: np.ndarray) -> float:
    """D_LR of the two layers on the rows, by its definition."""
    phi = features_of(x).reshape(-1, 8)
    return oracle.d_lr(phi, phi @ W2)


def measured(model: onnx.ModelProto, x: Any, **options: Any) -> onnxrich.Analysis:
    data = x if isinstance(x, dict) else {"x": x}
    return onnxrich.run(model, data, device="cpu", **options)


def codes(analysis: onnxrich.Analysis) -> list[str]:
    return [notice.code for notice in analysis.notices]


LAYERS = "a = MatMul({0}, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
TURNED = "t = Transpose<perm = [1, 0, 2]>(x)\n "
# Models of sequences (samples, steps, width) whose features come with steps first, or on one axis with the samples.
STEPS_FIRST = {
    "steps first": build(
        TURNED + LAYERS.format("t"), x=f"float[N,{STEPS},{WIDTH}] x", y=f"float[{STEPS},N,3] y"
    ),
    "one axis": build(
        TURNED + "s = Reshape(t, rows)\n " + LAYERS.format("s"),
        x=f"float[N,{STEPS},{WIDTH}] x", y="float[M,3] y", rows=np.array([-1, WIDTH]),
    ),
    "one axis, samples first": build(
        "s = Reshape(x, rows)\n " + LAYERS.format("s"),
        x=f"float[N,{STEPS},{WIDTH}] x", y="float[M,3] y", rows=np.array([-1, WIDTH]),
    ),
    "outputs turned back": build(
        TURNED + "s = Reshape(t, rows)\n a = MatMul(s, w1)\n h = Relu(a)\n z = MatMul(h, w2)\n p = LogSoftmax(z)\n"
        " u = Reshape(p, back)\n y = Transpose<perm = [1, 0, 2]>(u)",
        x=f"float[N,{STEPS},{WIDTH}] x", y=f"float[N,{STEPS},3] y", rows=np.array([-1, WIDTH]),
        back=np.array([STEPS, -1, 3]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [None, 1, 7, 64])
@pytest.mark.parametrize("kind", STEPS_FIRST)
def test_labels_of_tokens_fall_on_their_rows(kind: str, batch_size: int | None) -> None:
    """Wherever the samples lie in the features, tokens keep their own labels and masks."""
    labels = (features_of(SEQUENCES) @ W2).argmax(-1)
    labels[:, ::4] = -100
    analysis = measured(STEPS_FIRST[kind], SEQUENCES, labels=labels, batch_size=batch_size)
    assert analysis.metrics["accuracy"] == 1.0
    assert analysis.metrics["d_lr"] == pytest.approx(expected(SEQUENCES[labels >= 0]), abs=1e-6)


def test_a_mask_falls_on_its_rows() -> None:
    """A mask of tokens weighs the rows of its own samples, where the features come with steps first."""
    mask = (np.arange(STEPS) < RNG.integers(2, STEPS + 1, (70, 1))).astype(np.int64)
    body = TURNED + "s = Reshape(t, rows)\n " + LAYERS.format("s")
    model = build(
        body, x=f"float[N,{STEPS},{WIDTH}] x, int64[N,{STEPS}] attention_mask", y="float[M,3] y",
        rows=np.array([-1, WIDTH]),
    )  # fmt: skip
    analysis = measured(model, {"x": SEQUENCES, "attention_mask": mask})
    assert analysis.moments.n == mask.sum()
    assert analysis.metrics["d_lr"] == pytest.approx(expected(SEQUENCES[mask > 0]), abs=1e-6)


# Samples along the second axis of the input: the names tell it, or the user does.
@pytest.mark.parametrize(
    ("dims", "options"),
    [
        (("T", "N"), {}),
        (("seq_len", "batch"), {}),
        ((str(STEPS), "batch_size"), {}),
        (("T", "clips"), {}),
        (("u", "v"), {"batch_axis": 1}),
        (("u", "v"), {"batch_axis": "x=1"}),
        (("u", "v"), {"batch_axis": {"x": 1}}),
    ],
)
def test_samples_along_the_second_axis_of_the_input(dims: tuple[str, str], options: dict[str, Any]) -> None:
    """Recurrent layers take time first by default; their last state has one row a sample."""
    body = "m = CumSum(x, first)\n l = Gather<axis = 0>(m, last)\n " + LAYERS.format("l")
    model = build(
        body, x=f"float[{dims[0]},{dims[1]},{WIDTH}] x", y=f"float[{dims[1]},3] y", first=np.array(0),
        last=np.array(-1),
    )  # fmt: skip
    analysis = measured(model, np.ascontiguousarray(SEQUENCES.swapaxes(0, 1)), **options)
    assert analysis.record.data.samples == len(SEQUENCES)
    assert analysis.metrics["d_lr"] == pytest.approx(expected(SEQUENCES.sum(1)), abs=1e-5)
    assert ("batch_axis" in codes(analysis)) == (not options)


def test_the_right_axis_is_named() -> None:
    """Where nothing tells the axis, a run does: the error names the option, and the option works."""
    body = "m = CumSum(x, first)\n " + LAYERS.format("m")
    model = build(body, x=f"float[u,v,{WIDTH}] x", y="float[u,v,3] y", first=np.array(0))
    x = np.ascontiguousarray(SEQUENCES.swapaxes(0, 1))
    with refused(ModelError, "pass --batch-axis 1"):
        measured(model, x)
    right = measured(model, x, batch_axis=1)
    assert right.metrics["d_lr"] == pytest.approx(expected(SEQUENCES.cumsum(1)), abs=1e-5)


def test_inputs_have_axes_of_their_own() -> None:
    """A state of shape (2, batch, width) lies beside rows of shape (batch, width)."""
    body = "s = Gather<axis = 0>(state, last)\n b = Add(x, s)\n " + LAYERS.format("b")
    model = build(
        body, x=f"float[batch,{WIDTH}] x, float[2,batch,{WIDTH}] state", y="float[batch,3] y", last=np.array(1)
    )
    state = RNG.standard_normal((2, 200, WIDTH)).astype(np.float32)
    analysis = measured(model, {"x": ROWS, "state": state}, batch_size=32)
    assert analysis.metrics["d_lr"] == pytest.approx(expected(ROWS + state[1]), abs=1e-6)


@pytest.mark.parametrize("labelled", [False, True])
def test_the_number_of_samples_tells_the_axis(labelled: bool) -> None:
    """Where no name tells it, the only open axis with as many entries as samples does."""
    body = "s = Gather<axis = 0>(state, first)\n b = Add(x, s)\n " + LAYERS.format("b")
    model = build(body, x=f"float[n,{WIDTH}] x, float[1,m,{WIDTH}] state", y="float[n,3] y", first=np.array(0))
    state = RNG.standard_normal((1, 200, WIDTH)).astype(np.float32)
    labels = (features_of(ROWS + state[0]) @ W2).argmax(-1) if labelled else None
    analysis = measured(model, {"x": ROWS, "state": state}, labels=labels, batch_size=32)
    assert analysis.metrics["d_lr"] == pytest.approx(expected(ROWS + state[0]), abs=1e-6)
    assert analysis.metrics["accuracy"] == (1.0 if labelled else None)
    assert "batch_axis" in codes(analysis)


MIXES = {
    "batch normalisation in training mode": (
        "a = MatMul(x, w1)\n b, m, v = BatchNormalization<training_mode = 1>(a, scale, shift, mean, variance)\n"
        " h = Relu(b)\n y = MatMul(h, w2)",
        {"scale": np.ones(8, "f"), "shift": np.zeros(8, "f"), "mean": np.zeros(8, "f"), "variance": np.ones(8, "f")},
    ),
    "mean of the batch": ("m = ReduceMean<axes = [0]>(x)\n c = Sub(x, m)\n " + LAYERS.format("c"), {}),
    "largest of the batch": ("m = ReduceMax<axes = [0]>(x)\n c = Div(x, m)\n " + LAYERS.format("c"), {}),
    "sum over the rows before": ("c = CumSum(x, first)\n " + LAYERS.format("c"), {"first": np.array(0)}),
    "softmax over the batch": ("c = Softmax<axis = 0>(x)\n " + LAYERS.format("c"), {}),
    "attention over the batch": (
        "t = Transpose(x)\n k = MatMul(x, t)\n s = Softmax(k)\n c = MatMul(s, x)\n " + LAYERS.format("c"), {},
    ),
    "rows in another order": (
        "n = Shape(x)\n k = Gather(n, zero)\n i = Range(zero, k, one)\n l = Sub(k, one)\n r = Sub(l, i)\n"
        " c = Gather<axis = 0>(x, r)\n b = Add(x, c)\n " + LAYERS.format("b"),
        {"zero": np.array(0), "one": np.array(1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXES)
@pytest.mark.parametrize("batch", ["N", "16"])
def test_a_model_that_mixes_samples_is_refused(kind: str, batch: str) -> None:
    """The features of a sample must not change with the others in its batch, also where the file fixes its size."""
    body, weights = MIXES[kind]
    model = build(body, x=f"float[{batch},{WIDTH}] x", y=f"float[{batch},3] y", **weights)
    # The runtime also keeps the statistics of a batch normalisation in training mode from run to run.
    found = "in each run" if "training" in kind else "change with the other samples of its batch"
    with refused(ModelError, found, "Export the model in evaluation mode"):
        measured(model, ROWS, batch_size=None if batch == "16" else 32)


def test_all_rows_in_one_batch_depend_on_no_other() -> None:
    """The nodes of a graph are one batch: a notice says what the numbers hold for."""
    body, weights = MIXES["attention over the batch"]
    analysis = measured(build(body, **weights), ROWS, batch_size=200)
    assert "batch_dependent" in codes(analysis)
    x = ROWS.astype(float)
    shares = np.exp(x @ x.T - (x @ x.T).max(1, keepdims=True))
    assert analysis.metrics["d_lr"] == pytest.approx(expected(shares / shares.sum(1, keepdims=True) @ x), abs=1e-5)


@pytest.mark.parametrize("batch", ["N", "1", "16"])
@pytest.mark.parametrize(
    "noise",
    [
        "n = RandomNormalLike(x)\n c = Add(x, n)",
        "n = RandomUniformLike(x)\n c = Mul(x, n)",
        "p = Sigmoid(x)\n n = Bernoulli(p)\n c = Mul(x, n)",
    ],
)
def test_chance_is_refused(noise: str, batch: str) -> None:
    """Equal runs must agree."""
    model = build(f"{noise}\n " + LAYERS.format("c"), x=f"float[{batch},{WIDTH}] x", y=f"float[{batch},3] y")
    with refused(ModelError, "draws random numbers"):
        measured(model, ROWS)


def test_a_batch_in_one_row_needs_single_samples() -> None:
    """A Reshape that melts the batch into one row is refused, and the remedy gives the right number."""
    body = "s = Reshape(x, rows)\n " + LAYERS.format("s").replace(
        "h = Relu(a)", "r = Relu(a)\n h = ReduceMean<axes = [1], keepdims = 0>(r)"
    )
    model = build(body, x=f"float[N,{STEPS},{WIDTH}] x", y="float[M,3] y", rows=np.array([1, -1, WIDTH]))
    with refused(ModelError, "Pass --batch-size 1 to run each sample alone."):
        measured(model, SEQUENCES)
    analysis = measured(model, SEQUENCES, batch_size=1)
    phi = features_of(SEQUENCES).mean(1)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(phi, phi @ W2), abs=1e-6)
    assert "batch_of_one" in codes(analysis)


@pytest.mark.parametrize("size", [None, 50])
def test_a_batch_of_one_is_found(size: int | None) -> None:
    """A free dimension with which only 1 works is tried with 1, and said."""
    body = "s = Reshape(x, rows)\n " + LAYERS.format("s")
    model = build(body, x="float[N,2,3] x", y="float[N,3] y", rows=np.array([1, WIDTH]))
    analysis = measured(model, ROWS.reshape(-1, 2, 3), batch_size=size)
    assert analysis.metrics["d_lr"] == pytest.approx(expected(ROWS), abs=1e-6)
    assert [code for code in codes(analysis) if "batch" in code] == ["batch_of_one"]


def test_a_built_in_batch_size_is_padded() -> None:
    """A size that stands inside the model, and not in its signature, works when it is asked for."""
    body = "s = Reshape(x, rows)\n " + LAYERS.format("s")
    model = build(body, x="float[N,2,3] x", y="float[N,3] y", rows=np.array([32, WIDTH]))
    x = ROWS.reshape(-1, 2, 3)
    analysis = measured(model, x, batch_size=32)
    assert analysis.moments.n == len(x) % 32 + len(x) // 32 * 32
    assert analysis.metrics["d_lr"] == pytest.approx(expected(ROWS), abs=1e-6)
    with refused(RunError, "If the model holds a batch size inside, pass it with --batch-size."):
        measured(model, x, batch_size=30)


def test_ranges_of_a_batch_are_said(tmp_path: Path) -> None:
    """Dynamic quantisation rounds by the range of a batch: this is said and no reason to refuse."""
    onnx.save(two_layers(w1=RNG.standard_normal((WIDTH, 8)).astype(np.float32)), tmp_path / "model.onnx")
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "quantised.onnx")
    analysis = measured(onnx.load(tmp_path / "quantised.onnx"), ROWS * RNG.uniform(0.1, 10, (200, 1)), batch_size=20)
    assert "batch_dependent" in codes(analysis)


def test_features_that_hardly_vary() -> None:
    """A large mean does not hide which axis is that of the samples."""
    body = TURNED + "o = Add(t, offset)\n s = Reshape(o, rows)\n " + LAYERS.format("s")
    model = build(
        body, x=f"double[N,{STEPS},{WIDTH}] x", y="double[M,3] y", rows=np.array([-1, WIDTH]), offset=np.array(1e5),
        w1=W1, w2=W2,
    )  # fmt: skip
    x = SEQUENCES.astype(float)
    (outputs,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    labels = outputs.reshape(STEPS, -1, 3).swapaxes(0, 1).argmax(-1)
    assert measured(model, x, labels=labels).metrics["accuracy"] == 1.0


def test_the_proof_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof takes at most five runs of at most 64 samples, whatever the size of a batch."""
    sizes: list[int] = []
    run: Callable[..., Any] = Session.run

    def counted(session: Session, names: Any, feed: Any) -> Any:
        sizes.append(len(feed["x"]))
        return run(session, names, feed)

    monkeypatch.setattr(Session, "run", counted)
    analysis = measured(two_layers(), ROWS, batch_size=150)
    # The first batch ran before the proof.
    assert sizes[0] == 150
    assert len(sizes[1:]) <= 5
    assert max(sizes[1:]) <= SAMPLES
    assert "proving the rows" in (analysis.record.runtime.profile or {})


def test_a_model_that_draws_is_refused_where_it_takes_one_sample_alone() -> None:
    """Chance is found too in a model that holds a batch of one inside."""
    model = build(
        "r = Reshape(x, one)\n a = MatMul(r, w1)\n e = RandomNormalLike(a)\n h = Add(a, e)\n y = MatMul(h, w2)",
        x=f"float[N,{WIDTH}] x", y="float[1,3] y", one=np.array([1, WIDTH]), w1=W1.astype(np.float32),
        w2=W2.astype(np.float32),
    )  # fmt: skip
    with pytest.raises(ModelError, match="draws random numbers"):
        measured(model, ROWS)


def test_an_axis_for_all_inputs_leaves_scalars_alone() -> None:
    """`batch_axis=1` holds for the inputs that have such an axis."""
    model = build(
        "s = Mul(x, scale)\n a = ReduceSum<keepdims = 0>(s, first)\n b = MatMul(a, w1)\n h = Relu(b)\n "
        "y = MatMul(h, w2)",
        x=f"float[T,N,{WIDTH}] x, float scale", y="float[N,3] y", first=np.array([0]), w1=W1.astype(np.float32),
        w2=W2.astype(np.float32),
    )  # fmt: skip
    data = {"x": SEQUENCES.swapaxes(0, 1), "scale": np.float32(1)}
    assert measured(model, data, batch_axis=1).metrics["d_lr"] == pytest.approx(
        expected(SEQUENCES.sum(axis=1)), rel=1e-5
    )


@pytest.mark.parametrize("is_read", [False, True])
def test_layers_whose_rows_lie_in_another_order_are_left_out(is_read: bool) -> None:
    """A layer with samples and steps on one axis has no order to trust where the head has steps first."""
    layers = "a = MatMul(s, w1)\n g = Relu(a)\n b = MatMul(g, w3)\n h = Tanh(b)\n y = MatMul(h, w2)"
    turn = "s = Reshape(x, rows)\n " if is_read else TURNED + "s = Reshape(t, rows)\n "
    model = build(
        turn + layers, x=f"float[N,{STEPS},{WIDTH}] x", y="float[M,3] y", rows=np.array([-1, WIDTH]),
        w3=whole(8, 8, seed=3),
    )  # fmt: skip
    analysis = measured(model, SEQUENCES, layers="all")
    assert ("g" in [layer.name for layer in analysis.layers]) == is_read
    assert ("layers_skipped" in codes(analysis)) != is_read
