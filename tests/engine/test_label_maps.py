"""Labels of samples, tokens and positions: those to leave out, and those that do not fit the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build, refused, two_layers, whole

import onnxrich
from onnxrich.errors import DataError

N, H, W = 30, 3, 4
RANDOM = np.random.default_rng(8)
W1, W2 = whole(6, 8, seed=1).astype(float), whole(8, 3, seed=2).astype(float)
# Whole numbers: features and outputs are exact in float32.
X = RANDOM.integers(-3, 4, (N * H * W, 6)).astype(np.float32)
FEATURES = np.maximum(X.astype(float) @ W1, 0)
OUTPUTS = FEATURES @ W2
CLASSES = np.where(RANDOM.random(N * H * W) < 0.2, RANDOM.integers(0, 3, N * H * W), OUTPUTS.argmax(axis=1))
IS_VOID = RANDOM.random(N * H * W) < 0.25


def positions() -> onnx.ModelProto:
    """x (N, 6, H, W) → h (8, ReLU) → y (3) at each position."""
    weights = {"k1": W1.T.reshape(8, 6, 1, 1).astype(np.float32), "k2": W2.T.reshape(3, 8, 1, 1).astype(np.float32)}
    body = "a = Conv(x, k1)\n h = Relu(a)\n y = Conv(h, k2)"
    return build(body, x="float[N,6,h,w] x", y="float[N,3,h,w] y", **weights)


def tokens() -> onnx.ModelProto:
    """x (N, T, 6) → h (8, ReLU) → y (3) for each token."""
    return build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,T,6] x", y="float[N,T,3] y")


IMAGES = np.ascontiguousarray(X.reshape(N, H, W, 6).transpose(0, 3, 1, 2))
SENTENCES = X.reshape(N, H * W, 6)
CASES = {
    "samples": (two_layers, X, (N * H * W,)),
    "tokens": (tokens, SENTENCES, (N, H * W)),
    "positions": (positions, IMAGES, (N, H * W)),
    "maps": (positions, IMAGES, (N, H, W)),
    "maps with channels": (positions, IMAGES, (N, 1, H, W)),
}


def labels_with(void: int, shape: tuple[int, ...], dtype: Any = np.int64) -> np.ndarray:
    return np.where(IS_VOID, void, CLASSES).astype(dtype).reshape(shape)


def run(name: str, void: int, dtype: Any = np.int64, **options: Any) -> onnxrich.Analysis:
    model, x, shape = CASES[name]
    return onnxrich.run(model(), {"x": x}, labels_with(void, shape, dtype), device="cpu", **options)


def assert_void_is_left_out(analysis: onnxrich.Analysis) -> None:
    """The numbers are those of the other rows, to the rounding of sums in double."""
    features, outputs, classes = FEATURES[~IS_VOID], OUTPUTS[~IS_VOID], CLASSES[~IS_VOID]
    assert analysis.record.data.n == len(features)
    assert analysis.record.data.classes == 3
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=1e-12)
    assert analysis.metrics["nc1"] == pytest.approx(oracle.nc1(features, classes), rel=1e-10)
    assert analysis.metrics["accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=1) == classes), abs=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("void", "dtype"), [(255, np.uint8), (255, np.int64), (-100, np.int64), (-1, np.int8)])
def test_rows_with_the_label_to_ignore_are_left_out(name: str, void: int, dtype: Any) -> None:
    assert_void_is_left_out(run(name, void, dtype, ignore_label=void, batch_size=20))


@pytest.mark.parametrize("name", [name for name in CASES if name != "samples"])
def test_labels_below_zero_of_tokens_and_positions_are_left_out_by_themselves(name: str) -> None:
    assert_void_is_left_out(run(name, -100))


def test_readouts_and_layers_leave_out_the_same_rows() -> None:
    analysis = run("samples", 255, ignore_label=255, metrics=("default", "readouts"), layers="all")
    assert_void_is_left_out(analysis)
    means = np.array([FEATURES[~IS_VOID][CLASSES[~IS_VOID] == c].mean(axis=0) for c in range(3)])
    nearest = ((FEATURES[~IS_VOID][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    share = np.mean(nearest == CLASSES[~IS_VOID])
    assert analysis.metrics["nearest_mean_accuracy"] == pytest.approx(share, abs=1e-12)
    assert analysis.layers[-1].metrics["d_lr"] == pytest.approx(analysis.metrics["d_lr"], abs=1e-12)


def test_an_iterable_and_a_model_of_a_fixed_batch_leave_them_out_too() -> None:
    labels = labels_with(255, (N * H * W,))
    items = [{"x": X[i : i + 7], "labels": labels[i : i + 7]} for i in range(0, len(X), 7)]
    assert_void_is_left_out(onnxrich.run(two_layers(), items, ignore_label=255, device="cpu"))
    assert_void_is_left_out(onnxrich.run(two_layers(7), {"x": X}, labels, ignore_label=255, device="cpu"))


def test_a_comparison_leaves_out_the_same_rows() -> None:
    labels = labels_with(255, (N, H, W))
    comparison = onnxrich.compare([positions(), positions()], {"x": IMAGES}, labels, ignore_label=255, device="cpu")
    assert_void_is_left_out(comparison.results[0])
    samples = labels_with(255, (N * H * W,))
    w1 = whole(6, 8, seed=7)
    pair = [two_layers(w1=w1), two_layers()]
    comparison = onnxrich.compare(pair, {"x": X}, samples, ignore_label=255, device="cpu")
    assert_void_is_left_out(comparison.results[1])
    others = np.maximum(X.astype(float) @ w1, 0)
    cka, cka_of_all = oracle.cka(others[~IS_VOID], FEATURES[~IS_VOID]), oracle.cka(others, FEATURES)
    assert abs(cka - cka_of_all) > 1e-4
    assert comparison.similarity(0, 1).value == pytest.approx(cka, abs=1e-12)


def test_classes_are_balanced_without_the_label_to_ignore() -> None:
    analysis = run("samples", 255, ignore_label=255, reading={"balanced": True})
    assert analysis.record.data.n == analysis.record.data.samples == 3 * np.bincount(CLASSES[~IS_VOID]).min()


def test_a_label_that_is_not_ignored_is_a_class() -> None:
    """Void pixels would be a class of their own: the notice says how to leave them out."""
    analysis = run("maps", 255)
    assert analysis.record.data.classes == 256
    (message,) = (notice.message for notice in analysis.notices if notice.code == "more_classes")
    assert "--ignore-label 255" in message


@pytest.mark.parametrize(
    ("name", "shape", "found"),
    [
        ("maps", (N, 6, 2), "the labels have 6 × 2 entries a sample, and the head has 3 × 4 rows"),
        ("maps", (N, W, H), "the labels have 4 × 3 entries a sample, and the head has 3 × 4 rows"),
        ("positions", (N, 6), "the labels have 6 entries a sample, and the head has 3 × 4 rows"),
        ("tokens", (N, 11), "the labels have 11 entries a sample, and the head has 12 rows"),
        ("samples", (N * H * W, 2, 2), "the labels have 2 × 2 entries a sample, and the head has 1 rows"),
    ],
)
def test_labels_that_do_not_fit_the_rows_are_refused(name: str, shape: tuple[int, ...], found: str) -> None:
    """Both sizes are said, and no number is given for labels on other rows."""
    model, x, _ = CASES[name]
    with refused(DataError, found, "one label for each row"):
        onnxrich.run(model(), {"x": x}, np.ones(shape, np.int64), device="cpu")


def test_targets_of_samples_stay_targets() -> None:
    """A row of zeros and ones for each sample is no map: it has one entry for each output."""
    labels = (RANDOM.random((N * H * W, 3)) < 0.5).astype(np.int64)
    analysis = onnxrich.run(two_layers(), {"x": X}, labels, device="cpu")
    assert analysis.moments.targets == "values"
    np.testing.assert_allclose(analysis.moments.mean("targets"), labels.mean(axis=0), rtol=1e-12)


def test_an_ignored_label_that_can_not_be_meant_is_refused() -> None:
    with refused(DataError, "label 255 is to be left out, and the data have no labels", "--labels NAME"):
        onnxrich.run(two_layers(), {"x": X}, ignore_label=255, device="cpu")
    with refused(DataError, "have type float64, and label 255 is to be left out", "integer classes"):
        onnxrich.run(two_layers(), {"x": X}, CLASSES.astype(float), ignore_label=255, device="cpu")
    with refused(DataError, "hold -7, and label 255 is to be left out", "no other label below zero"):
        run("samples", -7, ignore_label=255)
    with refused(DataError, "ignore_label 'void'", "a whole number"):
        run("samples", 255, ignore_label="void")
