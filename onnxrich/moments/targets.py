"""Labels as targets of the moment matrix: classes become one-hot rows, real values stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxrich.errors import DataError

TargetKind = Literal["classes", "values"]

# The moment matrix has a row and a column for each class, so its size grows with the square of their number.
MOST_CLASSES = 10_000


def have_accuracy(targets: TargetKind | None, C: int, K: int) -> bool:
    """Whether C outputs and K targets correspond as classes: one output for each class, or one output for two."""
    return targets == "classes" and (C == K > 1 or (C, K) == (1, 2))


def class_column(labels: NDArray[Any]) -> NDArray[Any]:
    """Flatten class indices of shape (n, 1) to shape (n,); return all other labels unchanged."""
    is_column = labels.ndim == 2 and labels.shape[1] == 1
    return labels.reshape(-1) if labels.dtype.kind in "biu" and is_column else labels


def one_hot(
    targets: ArrayLike | None, *, C: int, K: int | None = None, classes: Sequence[int] | None = None
) -> tuple[NDArray[np.float64] | None, TargetKind | None]:
    """Convert targets to a float64 array of shape (n, K), and name their kind.

    Integers and booleans of shape (n,) are class indices. All other numbers are real values.

    Args:
        targets: array of shape (n,) or (n, K), or None.
        C: number of outputs. There are at least C classes, and at least two.
        K: number of classes, if it is known.
        classes: numbers of the classes that get a column, ascending; all K classes by default.

    Raises:
        DataError: if a class index is negative or does not fit K, or if targets are no numbers.
    """
    if targets is None:
        return None, None
    array = class_column(np.asarray(targets))
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"the labels have type {array.dtype}", "integer classes or real values", "Encode the labels as integers."
        )
    if array.ndim == 1 and array.dtype.kind in "biu":
        return _one_hot_rows(array.astype(np.int64), C, K, classes), "classes"
    return to_table(array if array.ndim > 1 else array[:, None], "labels"), "values"


def _one_hot_rows(
    index: NDArray[np.int64], C: int, K: int | None, classes: Sequence[int] | None
) -> NDArray[np.float64]:
    """One-hot rows of class indices: float64 array of shape (n, K)."""
    size = K if K is not None else max(C, 2, int(index.max(initial=0)) + 1)
    if index.min(initial=0) < 0 or index.max(initial=0) >= size:
        raise DataError(
            f"the class labels go from {index.min()} to {index.max()}",
            f"class indices from 0 to {size - 1}",
            "Renumber the classes from 0, and leave out rows without a class.",
        )
    limit = max(MOST_CLASSES, 2 * C)
    if size > limit:
        raise DataError(
            f"the class labels go up to {size - 1}, and the model has {C} outputs",
            f"at most {limit:,} classes",
            "Renumber the classes from 0 without gaps.",
        )
    columns, width = (index, size) if classes is None else (_find_columns(index, np.asarray(classes)), len(classes))
    rows = np.zeros((len(index), width))
    rows[np.arange(len(index)), columns] = 1.0
    return rows


def _find_columns(index: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the columns of class indices: int64 array of shape (n,).

    Raises:
        DataError: if a class has no column.
    """
    columns = np.minimum(np.searchsorted(classes, index), len(classes) - 1)
    unknown = classes[columns] != index
    if unknown.any():
        raise DataError(
            f"a row has class {index[unknown][0]}, which the labels did not hold before",
            "labels that stay as they are",
            "Do not change the data while they are read.",
        )
    return columns


def to_table(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Convert values to a float64 array of two axes.

    Args:
        values: numbers of any type.
        name: what the error message calls them.

    Raises:
        DataError: if the values are no real numbers, or not of two axes.
    """
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the {name} of type {type(values).__name__} are no real numbers: {error}",
            "a table of real numbers, of shape (rows, columns)",
            f"Convert the {name} with numpy.asarray.",
        ) from error
    if array.ndim != 2:
        raise DataError(
            f"the {name} have shape {array.shape}",
            "a table of shape (rows, columns)",
            f"Reshape the {name} to two axes.",
        )
    return array


def to_finite_table(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Convert values to a float64 array of two axes, as `to_table` does, and refuse NaN and infinity.

    Raises:
        DataError: if the values are no table of finite real numbers.
    """
    array = to_table(values, name)
    non_finite = ~np.isfinite(array).all(axis=1)
    if non_finite.any():
        raise DataError(
            f"the {name} contain NaN or infinity in row {int(non_finite.argmax())}",
            "finite numbers",
            "Fix or leave out these rows.",
        )
    return array
