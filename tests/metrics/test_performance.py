"""Performance equals its definitions, for classes and for real targets."""

from __future__ import annotations

import numpy as np
import pytest
from samples import class_rows

from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments


def test_performance_equals_its_definitions() -> None:
    """Accuracy, cross-entropy and mean squared error are means over the rows."""
    features, _, outputs, labels = class_rows(4)
    outputs = outputs / 10
    got, _ = measure(Moments.from_rows(features, outputs, labels), metrics=["performance"])
    log_softmax = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    assert got["accuracy"] == np.mean(outputs.argmax(axis=1) == labels)
    assert got["cross_entropy"] == pytest.approx(-np.mean(log_softmax[np.arange(400), labels]), rel=1e-12)
    assert got["mean_squared_error"] == pytest.approx(np.mean((outputs - np.eye(5)[labels]) ** 2), rel=1e-9)


def test_regression() -> None:
    """Real targets: mean squared error is defined, what needs classes is None, and nothing warns of classes."""
    features, _, outputs, _ = class_rows(5)
    targets = outputs + 0.1 * np.random.default_rng(0).standard_normal(outputs.shape)
    got, notices = measure(Moments.from_rows(features, outputs, targets))
    assert got["mean_squared_error"] == pytest.approx(np.mean((outputs - targets) ** 2), rel=1e-9)
    assert got["accuracy"] is got["cross_entropy"] is got["nc1"] is got["nc3"] is None
    assert notices == []


def test_binary_accuracy() -> None:
    """With one output its sign is the class."""
    features, _, outputs, _ = class_rows(C=1)
    labels = np.random.default_rng(0).integers(0, 2, 400)
    metrics, _ = measure(Moments.from_rows(features, outputs, labels), metrics=["accuracy"])
    assert metrics["accuracy"] == pytest.approx(np.mean((outputs[:, 0] > 0) == labels))
