"""Labels as the targets of the moment matrix: classes become one-hot rows, real values stay what they are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxrich.errors import DataError

TargetKind = Literal["classes", "values"]


# Classes are columns of the moment matrix, and cost their square.
MOST_CLASSES = 10_000


def class_column(labels: NDArray[Any]) -> NDArray[Any]:
    """Class indices of shape (n, 1) as shape (n,); all other labels as they are."""
    return labels.reshape(-1) if labels.dtype.kind in "biu" and labels.ndim == 2 and labels.shape[1] == 1 else labels


def one_hot(
    targets: ArrayLike | None, *, C: int, K: int | None = None
) -> tuple[NDArray[np.float64] | None, TargetKind | None]:
    """Targets as a float64 table, and their kind.

    Integer or boolean arrays of shape (n,) are class indices; anything else is taken as real values.

    Args:
        targets: array of shape (n,) or (n, K), or None.
        C: number of outputs; with C > 1 there are at least C classes, with C = 1 at least two.
        K: number of classes, when known.

    Raises:
        DataError: when class indices are negative or don't fit K, or targets are not numbers.
    """
    if targets is None:
        return None, None
    array = class_column(np.asarray(targets))
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"labels of type {array.dtype}", "integer classes or real values", "Encode the labels as integers."
        )
    if array.ndim == 1 and array.dtype.kind in "biu":
        index = array.astype(np.int64)
        size = K if K is not None else max(C, 2, int(index.max(initial=0)) + 1)
        if index.min(initial=0) < 0 or index.max(initial=0) >= size:
            raise DataError(
                f"class labels from {index.min()} to {index.max()}",
                f"class indices from 0 to {size - 1}",
                "Renumber the classes from 0, and leave out rows without a class.",
            )
        if size > max(MOST_CLASSES, 2 * C):
            raise DataError(
                f"class labels up to {size - 1} for {C} outputs",
                f"at most {max(MOST_CLASSES, 2 * C):,} classes",
                "Number the classes that occur from 0.",
            )
        rows = np.zeros((len(index), size))
        rows[np.arange(len(index)), index] = 1.0
        return rows, "classes"
    return table(array if array.ndim > 1 else array[:, None], "labels"), "values"


def table(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Values as a float64 array of two axes; the name is for the error message."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} of type {type(values).__name__}: {error}",
            "a table of real numbers, of shape (rows, columns)",
            f"Convert {name} with numpy.asarray.",
        ) from error
    if array.ndim != 2:
        raise DataError(
            f"{name} of shape {array.shape}", "a table of shape (rows, columns)", f"Reshape {name} to two axes."
        )
    return array


def finite_table(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """The same, of finite numbers."""
    array = table(values, name)
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise DataError(
            f"{name} with NaN or infinity in row {int(bad.argmax())}", "finite numbers", "Mend or leave out these rows."
        )
    return array
