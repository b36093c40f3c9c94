"""Labels that don't fit the outputs: each case is told with what to do, and good labels are not doubted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_text import build, two_layers, whole

import onnxrich

ROWS = 60
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
THREE = np.arange(ROWS) % 3
CODES = ("fewer_classes", "labels_from_one", "more_classes", "labels_as_values")


def label_messages(labels: Any, outputs: int = 3) -> dict[str, str]:
    """The notices about labels of a model with so many outputs."""
    last = whole(8, outputs, seed=2)
    model = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", y=f"float[N,{outputs}] y", w2=last)
    notices = onnxrich.run(model.SerializeToString(), {"x": X, "labels": np.asarray(labels)}).notices
    return {notice.code: notice.message for notice in notices if notice.code in CODES}


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        (THREE, 3), (THREE[:, None], 3), (np.array(["a", "b", "c"])[THREE], 3), (THREE % 2, 1), (THREE % 2 > 0, 1),
        (np.array(["no", "yes"])[THREE % 2], 1), (THREE % 2 + 1, 3), (X[:, :3], 3), (X[:, 0], 3), (X[:, 0], 1),
        ((X[:, :3] > 0).astype(float), 3), (THREE.astype(float), 1), (THREE * 7.0, 3),
    ],
)  # fmt: skip
def test_good_labels(labels: Any, outputs: int) -> None:
    """Classes, real targets and several marks a row are taken without a word."""
    assert label_messages(labels, outputs) == {}


def test_fewer_names_than_outputs() -> None:
    """Words that don't name every output may have shifted numbers, which nothing else would show."""
    message = label_messages(np.array(["cat", "dog"])[THREE % 2])["fewer_classes"]
    assert message.startswith(
        "The data name 2 classes, numbered from 0 in this order: 'cat', 'dog'; the model has 3 ou"
    )
    assert "So nc2_zhu, nc3, nc3_zhu, nc4, accuracy, cross_entropy and mean_squared_error are undefined" in message
    assert message.endswith("or put the names of all classes as id2label into a config.json beside the model.")
    assert "name 1 class, numbered" in label_messages(np.array(["cat"] * ROWS), 1)["fewer_classes"]


@pytest.mark.parametrize("outputs", [1, 3])
def test_labels_from_one(outputs: int) -> None:
    """Labels from 1 to the number of classes begin at 1."""
    labels = THREE % max(outputs, 2) + 1
    message = label_messages(labels, outputs)["labels_from_one"]
    assert message.startswith(f"The labels go from 1 to {labels.max()}, and the model has {outputs} output")
    assert message.endswith("Pass labels - 1.")


def test_more_classes_than_outputs() -> None:
    """Classes without an output leave accuracy undefined; for a single output they may be quantities."""
    for labels in (THREE + 2, THREE * 5, np.array(list("abcde"))[np.arange(ROWS) % 5], (THREE + 1) * (X[:, 0] > 0)):
        message = label_messages(labels)["more_classes"]
        assert "the model has 3 outputs: nc2_zhu, nc3, nc3_zhu, nc4, accuracy, cr" in message
    assert label_messages(THREE + 2)["more_classes"].endswith("as numbers of the outputs, from 0 to 2.")
    assert label_messages(THREE, 1)["more_classes"].endswith("1 output: if they are quantities, pass them as floats.")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_one_hot_rows(dtype: Any) -> None:
    """One-hot rows are real targets, and the message says how they become classes."""
    message = label_messages(np.eye(3, dtype=dtype)[THREE])["labels_as_values"]
    assert message.startswith("The labels are rows of zeros and a single one, and count as real targets: ")
    assert message.endswith("If these are classes, pass labels.argmax(axis=1).")


@pytest.mark.parametrize(
    ("labels", "outputs"), [(THREE, 3), (THREE + 1, 3), (THREE[:, None], 3), (THREE % 2, 1), (THREE % 2, 3)]
)
def test_classes_as_floats(labels: Any, outputs: int) -> None:
    """Floats that number the outputs are real targets, and the message says how they become classes."""
    message = label_messages(labels.astype(np.float32), outputs)["labels_as_values"]
    assert message.startswith("The labels are floats that are whole numbers, and count as real targets: accuracy")
    assert message.endswith("If these are classes, pass labels.astype(int).")


def test_remedies_help() -> None:
    """Labels as the messages ask for them give the accuracy that NumPy counts, and no more notices."""
    hidden = np.maximum(X @ whole(6, 8, seed=1), 0) @ whole(8, 3, seed=2)
    expected = float((hidden.argmax(axis=1) == THREE).mean())
    for labels in (np.eye(3)[THREE].argmax(axis=1), THREE.astype(float).astype(int), (THREE + 1) - 1):
        analysis = onnxrich.run(two_layers().SerializeToString(), {"x": X, "labels": labels})
        assert analysis.metrics["accuracy"] == expected
        assert not {notice.code for notice in analysis.notices} & set(CODES)


@pytest.mark.parametrize("shifted", [False, True])
def test_labels_that_repeat_the_tokens(shifted: bool) -> None:
    """Labels that are the tokens themselves are told, also beside padding; those of the next token are not."""
    body = "e = Gather<axis = 0>(table, ids)\n a = MatMul(e, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    model = build(body, x="int64[N,T] ids", y="float[N,T,3] y", table=whole(3, 6, seed=5))
    ids = np.random.default_rng(0).integers(0, 3, (ROWS, 7))
    labels = np.where(np.arange(7) < 5, np.roll(ids, -1, axis=1) if shifted else ids, -100)
    notices = onnxrich.run(model, {"ids": ids, "labels": labels}, device="cpu").notices
    assert ("labels_repeat_input" in {notice.code for notice in notices}) == (not shifted)
