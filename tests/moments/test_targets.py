"""Labels as targets: classes, real values, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from onnxrich.errors import DataError
from onnxrich.moments.matrix import Moments


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([-1, 0, 1]), "the class labels go from -1 to 1"),
        (np.array(["a", "b", "c"]), "the labels have type <U1"),
        (np.array([None, 1, 2]), "the labels have type object"),
        (np.zeros((3, 2, 2)), r"the labels have shape \(3, 2, 2\)"),
    ],
)
def test_bad_labels(labels: np.ndarray, message: str) -> None:
    """Labels that are neither classes nor values are refused, with what to do."""
    with pytest.raises(DataError, match=message):
        Moments.from_rows(np.eye(3), np.eye(3), labels)


def test_labels_beyond_the_outputs() -> None:
    """There are at least as many classes as outputs, and as many as the labels say."""
    assert Moments.from_rows(np.eye(3), np.eye(3), [0, 1, 7]).K == 8
    assert Moments.from_rows(np.eye(3), np.eye(3), [0, 1, 0]).K == 3
    assert Moments.from_rows(np.eye(3), np.eye(3), [0.5, 1, 0]).K == 1
