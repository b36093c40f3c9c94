"""What looks wrong with labels beside the model's outputs. Only notices come of it: labels are taken as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.formatting import name_list
from onnxrich.errors import Notice
from onnxrich.moments.matrix import Moments

# The metrics that are `by_number`, in short.
_BY_NUMBER = "accuracy, cross_entropy, mean_squared_error, NC3 and NC4"
# Sums of ones and zeros in double, about a shift, are off by their rounding alone, some 1e-15 a row.
_ROUNDING = 1e-9


def label_notices(moments: Moments, first: NDArray[Any] | None, names: Sequence[str] | None) -> list[Notice]:
    """What a reader of numbers that come from labels should know.

    Args:
        moments: of all rows.
        first: labels of the first batch, None without labels.
        names: of the classes, in the order of their numbers, where the data have them.
    """
    if first is None or not moments.n:
        return []
    if moments.targets == "values":
        found = _as_values(moments, first)
    elif names is not None and len(names) < max(moments.C, 2):
        found = _fewer(moments.C, names)
    else:
        found = _more(moments)
    return [] if found is None else [found]


def _fewer(C: int, names: Sequence[str]) -> Notice:
    return Notice(
        "fewer_classes",
        f"The data name {len(names)} {'class' if len(names) == 1 else 'classes'}, numbered from 0 in this order: "
        f"{name_list(names)}; the model has {_outputs(C)}. Unless those that are missing come last, these are the wrong "
        f"outputs: so {_BY_NUMBER} are undefined. To have them, pass the labels as numbers of the outputs, or put the "
        "names of all classes as id2label into a config.json beside the model.",
    )


def _more(moments: Moments) -> Notice | None:
    C, K = moments.C, moments.K
    if max(C, 2) >= K:
        return None
    # Each class is a column of ones and zeros, whose mean is the share of its rows.
    if max(C, 2) + 1 == K and moments.mean("targets")[0] * moments.n < 0.5:
        return Notice(
            "labels_from_one",
            f"The labels go from 1 to {K - 1}, and the model has {_outputs(C)}: they seem to begin at 1, where classes "
            f"are numbered from 0. So {_BY_NUMBER} are undefined. Pass labels - 1.",
        )
    remedy = (
        "if they are quantities, pass them as floats." if C == 1 else
        f"{_BY_NUMBER} are undefined. To have them, pass the labels as numbers of the outputs, from 0 to {C - 1}."
    )  # fmt: skip
    return Notice(
        "more_classes",
        f"The labels go up to {K - 1}, which makes {K} classes, and the model has {_outputs(C)}: {remedy}",
    )


def _as_values(moments: Moments, first: NDArray[Any]) -> Notice | None:
    if moments.K > 1 and _is_one_hot(moments):
        said, remedy = "rows of zeros and a single one", "labels.argmax(axis=1)"
    elif moments.K == 1 and first.dtype.kind == "f" and _is_whole(first, moments.C):
        said, remedy = "floats that are whole numbers", "labels.astype(int)"
    else:
        return None
    return Notice(
        "labels_as_values",
        f"The labels are {said}, and were taken as real targets: accuracy, cross_entropy and neural collapse need "
        f"classes, which are integers of shape (rows,). If these are classes, pass {remedy}.",
    )


def _is_one_hot(moments: Moments) -> bool:
    """Whether each row of the targets has a single one: then Σ y yᵀ is diagonal, and holds Σ y, which adds up to n."""
    sums = moments.n * moments.mean("targets")
    rounding = _ROUNDING * moments.n
    return abs(float(sums.sum()) - moments.n) <= rounding and bool(
        np.allclose(moments.raw("targets", "targets"), np.diag(sums), rtol=0, atol=rounding)
    )


def _is_whole(labels: NDArray[Any], C: int) -> bool:
    """Whether floats look like the numbers of classes: from 0 or 1 on, as many as outputs, with one output 0 and 1."""
    found = np.unique(labels)
    if C == 1:
        return bool(np.array_equal(found, [0, 1]))
    return bool(np.isin(found, np.arange(C + 1)).all())


def _outputs(C: int) -> str:
    return "1 output" if C == 1 else f"{C} outputs"
