"""Classes of which no row is cost nothing: the moments have a column for those that occur."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxrich

ROWS, P, C = 120, 6, 3_000


@pytest.fixture(scope="module")
def weight() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(P, C)).astype(np.float32)


@pytest.fixture(scope="module")
def model(weight: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear head of many outputs on the inputs themselves."""
    nodes = [helper.make_node("Relu", ["x"], ["phi"]), helper.make_node("MatMul", ["phi", "W"], ["y"])]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in (("x", P), ("y", C))
    ]
    graph = helper.make_graph(nodes, "many", ends[:1], ends[1:], [numpy_helper.from_array(weight, "W")])
    path = tmp_path_factory.mktemp("many") / "many.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_classes_that_never_occur_have_no_column(model: Path, weight: np.ndarray, tmp_path: Path) -> None:
    """The numbers are those of all C classes, in float64, though few of them have a column in the moments."""
    generator = np.random.default_rng(2)
    x, labels = generator.normal(size=(ROWS, P)).astype(np.float32), generator.integers(5, 40, ROWS) * 70
    analysis = onnxrich.run(model, {"x": x}, labels, metrics=["all"])
    features = np.maximum(x, 0).astype(np.float64)
    f = features @ weight
    one_hot = np.eye(C)[labels]
    loss = np.log(np.exp(f - f.max(axis=1, keepdims=True)).sum(axis=1)) + f.max(axis=1) - f[np.arange(ROWS), labels]
    assert analysis.moments.K == C
    assert len(analysis.moments.matrix) == 1 + P + len(np.unique(np.append(labels, 0)))
    assert analysis.metrics["accuracy"] == np.mean(f.argmax(axis=1) == labels)
    # The model computes in float32.
    assert analysis.metrics["cross_entropy"] == pytest.approx(loss.mean(), rel=1e-5)
    assert analysis.metrics["mean_squared_error"] == pytest.approx(np.mean((f - one_hot) ** 2), rel=1e-5)
    means = np.stack([features[labels == number].mean(axis=0) for number in np.unique(labels)])
    nearest = np.unique(labels)[((features[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)]
    assert analysis.metrics["nearest_mean_accuracy"] == pytest.approx(np.mean(nearest == labels))
    assert analysis.metrics["nc4"] == pytest.approx(np.mean(nearest != f.argmax(axis=1)))
    analysis.save(tmp_path / "report")
    again = onnxrich.Analysis.load(tmp_path / "report")
    for name, value in analysis.metrics.items():
        assert again.metrics[name] == (value if value is None else pytest.approx(value, rel=1e-12)), name


def test_parts_with_other_classes_merge() -> None:
    """Moments with columns for different classes add up to those of all rows."""
    generator = np.random.default_rng(3)
    features, labels = generator.normal(size=(20, 4)), generator.integers(0, 6, 20)
    shift = np.zeros(1 + 4 + 4 + 6)

    def part(rows: np.ndarray) -> onnxrich.Moments:
        full = onnxrich.Moments.from_rows(features[rows], features[rows], np.eye(6)[labels[rows]], shift=shift)
        classes = np.unique(labels[rows])
        kept = np.r_[np.arange(9), 9 + classes]
        return onnxrich.Moments(full.matrix[np.ix_(kept, kept)], shift[kept], 4, 4, 6, "values", classes=classes)

    merged = part(np.arange(8)).merge(part(np.arange(8, 20)))
    full = onnxrich.Moments.from_rows(features, features, np.eye(6)[labels], shift=shift)
    kept = np.r_[np.arange(9), 9 + merged.target_numbers]
    np.testing.assert_allclose(merged.matrix, full.matrix[np.ix_(kept, kept)], atol=1e-12)
