"""What a run may give: the right number, a refusal, or a number beside a notice that says what it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
import oracle
import pytest
from graphs import Array, Graph

import onnxrich
from onnxrich import Analysis
from onnxrich.errors import OnnxrichError

# Features and outputs of float32 models of size one are off by some 1e-6; D_LR by at most four times that.
TOLERANCE = 1e-5
# A message is one line that a person reads.
LONGEST = 300
# What a notice says of a number that depends on more than the sample.
BATCH, CHANCE, MASK = ("batch",), ("chance", "random"), ("mask",)
# Notices that speak of batches and chance for other reasons.
OF_OTHER_THINGS = ("fixed_batch", "batch_halved", "few_blocks", "few_rows", "ordered_rows", "sorted_by_class")


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A model, its data, and what is right.

    Attributes:
        name: what a failure is reported under.
        values: D_LR that are right; empty where none is.
        rows: number of the rows that count; None where it is not checked.
        accuracy: of the labels, over the rows that count; None where they do not tell.
        told: words one of which a notice must hold beside another number; empty where no other number is right.
        whole: the number that is right beside such a notice; None where any is.
        certain: whether a refusal is wrong.
        remedy: what a refusal says to type next.
    """

    name: str
    model: onnx.ModelProto
    data: dict[str, Array]
    labels: Array | None = None
    options: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    rows: int | None = None
    accuracy: float | None = None
    told: tuple[str, ...] = ()
    whole: float | None = None
    certain: bool = True
    remedy: str = ""


def verdict(case: Case) -> Analysis | OnnxrichError:
    """What a run gives; fails where that is not right."""
    try:
        analysis = onnxrich.run(case.model, case.data, case.labels, device="cpu", **case.options)
    except OnnxrichError as error:
        assert not case.certain, f"{case.name}: refused: {error}"
        assert case.remedy in str(error), f"{case.name}: {error}"
        assert len(str(error)) < LONGEST, f"{case.name}: {len(str(error))} characters: {error}"
        return error
    d_lr, accuracy, rows = analysis.metrics["d_lr"], analysis.metrics["accuracy"], analysis.record.data.n
    if is_one_of(d_lr, case.values):
        assert case.rows in (None, rows), f"{case.name}: {rows} rows, right: {case.rows}"
        if case.accuracy is not None:
            assert is_one_of(accuracy, (case.accuracy,)), f"{case.name}: accuracy {accuracy}, right: {case.accuracy}"
        return analysis
    said = f"{case.name}: D_LR {d_lr}, right: {case.values}, notices {[notice.code for notice in analysis.notices]}"
    assert says_one_of(analysis, case.told), said
    assert case.whole is None or is_one_of(d_lr, (case.whole,)), f"{said}, all rows: {case.whole}"
    return analysis


def assert_right(
    g: Graph, *truths: tuple[Array, Array], labels: Array | None = None, accuracy: float | None = None,
    rows: int | None = None, told: tuple[str, ...] = (), whole: tuple[Array, Array] | None = None, certain: bool = True,
    remedy: str = "", **options: Any,
) -> Analysis | OnnxrichError:  # fmt: skip
    """What a run of a graph gives, with rows of features and outputs whose D_LR is right."""
    case = Case(
        name="run",
        model=g.model(),
        data=g.data,
        labels=labels,
        options=options,
        values=tuple(oracle.d_lr(*truth) for truth in truths),
        rows=rows,
        accuracy=accuracy,
        told=told,
        whole=None if whole is None else oracle.d_lr(*whole),
        certain=certain,
        remedy=remedy,
    )
    return verdict(case)


def is_one_of(number: float | None, values: tuple[float, ...]) -> bool:
    """Whether a number is one of those that are right."""
    return any(number == pytest.approx(value, abs=TOLERANCE) for value in values)


def says_one_of(analysis: Analysis, words: tuple[str, ...]) -> bool:
    """Whether a notice holds one of the words."""
    telling = [notice for notice in analysis.notices if notice.code not in OF_OTHER_THINGS]
    said = [f"{notice.code} {notice.message}".lower() for notice in telling]
    return any(word in text for word in words for text in said)
