"""Checks of the labels against the model's outputs. They give notices only; the labels stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.formatting import name_list
from onnxrich.errors import Notice
from onnxrich.metrics.registry import METRICS
from onnxrich.moments.matrix import Moments

# Sums of ones and zeros in double about a shift have rounding errors alone, some 1e-15 a row.
_ROUNDING = 1e-9


def label_notices(
    moments: Moments, first_labels: NDArray[Any] | None, class_names: Sequence[str] | None
) -> list[Notice]:
    """Warn of labels that do not fit the outputs.

    Args:
        moments: of all rows.
        first_labels: labels of the first batch, None without labels.
        class_names: in the order of their numbers; None if the data have none.
    """
    if first_labels is None or not moments.n:
        return []
    if moments.targets == "values":
        notice = _check_values(moments, first_labels)
    elif class_names is not None and len(class_names) < max(moments.C, 2):
        notice = _fewer_classes(moments.C, class_names)
    else:
        notice = _check_class_count(moments)
    return [] if notice is None else [notice]


def copied_labels(first_labels: NDArray[Any] | None, inputs: Mapping[str, NDArray[Any]]) -> list[Notice]:
    """Warn of labels of tokens that repeat an input: a causal language model is trained to predict the next token.

    Args:
        first_labels: labels of the first batch, None without labels; below zero for rows that are left out.
        inputs: arrays of the first batch by name.
    """
    if first_labels is None or first_labels.ndim < 2 or first_labels.dtype.kind not in "iu":
        return []
    kept = first_labels >= 0
    for name, array in inputs.items():
        is_alike = array.dtype.kind in "iu" and array.shape == first_labels.shape
        if is_alike and kept.any() and (array == first_labels)[kept].all():
            message = (
                f"The labels repeat the input {name!r}: each token is compared with itself. If the model predicts the "
                "next token, save labels[:, 1:] with -100 behind them."
            )
            return [Notice("labels_repeat_input", message)]
    return []


def _undefined_metrics() -> str:
    """Say that the metrics which compare each class with the output of its number are undefined."""
    *names, last = [metric.name for metric in METRICS.values() if metric.depends_on_numbering]
    return f"{', '.join(names)} and {last} are undefined"


def _fewer_classes(C: int, class_names: Sequence[str]) -> Notice:
    count = "1 class" if len(class_names) == 1 else f"{len(class_names)} classes"
    return Notice(
        "fewer_classes",
        f"The data name {count}, numbered from 0 in this order: {name_list(class_names)}; the model has {_outputs(C)}. "
        f"Unless the missing classes come last, these numbers belong to other outputs. So {_undefined_metrics()}. To "
        "define them, pass the labels as numbers of the outputs, or put the names of all classes as id2label into a "
        "config.json beside the model.",
    )


def _check_class_count(moments: Moments) -> Notice | None:
    C, K = moments.C, moments.K
    if max(C, 2) >= K:
        return None
    # The column of a class holds ones and zeros, so its mean is the share of the class.
    rows_of_class_0 = moments.mean("targets")[moments.target_numbers == 0].sum() * moments.n
    if max(C, 2) + 1 == K and rows_of_class_0 < 0.5:
        return Notice(
            "labels_from_one",
            f"The labels go from 1 to {K - 1}, and the model has {_outputs(C)}: they seem to begin at 1, but classes "
            f"are numbered from 0. So {_undefined_metrics()}. Pass labels - 1.",
        )
    consequence = (
        "if they are quantities, pass them as floats." if C == 1 else
        f"{_undefined_metrics()}. If {K - 1} marks rows to leave out, pass --ignore-label {K - 1}. To define them "
        f"otherwise, pass the labels as numbers of the outputs, from 0 to {C - 1}."
    )  # fmt: skip
    return Notice(
        "more_classes",
        f"The labels go up to {K - 1}, which makes {K} classes, and the model has {_outputs(C)}: {consequence}",
    )


def _check_values(moments: Moments, first_labels: NDArray[Any]) -> Notice | None:
    if moments.K > 1 and _are_one_hot(moments):
        form, remedy = "rows of zeros and a single one", "labels.argmax(axis=1)"
    elif moments.K == 1 and first_labels.dtype.kind == "f" and _are_class_numbers(first_labels, moments.C):
        form, remedy = "floats that are whole numbers", "labels.astype(int)"
    else:
        return None
    return Notice(
        "labels_as_values",
        f"The labels are {form}, and count as real targets: accuracy, cross_entropy and neural collapse need classes, "
        f"which are integers of shape (rows,). If these are classes, pass {remedy}.",
    )


def _are_one_hot(moments: Moments) -> bool:
    """Whether each row of the targets is one-hot: then Σ y yᵀ is diagonal and equals Σ y, whose entries sum to n."""
    sums = moments.n * moments.mean("targets")
    rounding = _ROUNDING * moments.n
    return abs(float(sums.sum()) - moments.n) <= rounding and bool(
        np.allclose(moments.raw("targets", "targets"), np.diag(sums), rtol=0, atol=rounding)
    )


def _are_class_numbers(labels: NDArray[Any], C: int) -> bool:
    """Whether floats number the outputs from 0 or from 1; with one output, whether they are 0 and 1."""
    numbers = np.unique(labels)
    if C == 1:
        return bool(np.array_equal(numbers, [0, 1]))
    return bool(np.isin(numbers, np.arange(C + 1)).all())


def _outputs(C: int) -> str:
    return "1 output" if C == 1 else f"{C} outputs"
