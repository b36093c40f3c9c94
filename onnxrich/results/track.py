"""What following a training found: plain data, and the JSON document of schema `onnxrich.track/1`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, Self

from onnxrich.errors import Notice
from onnxrich.metrics.jackknife import student_t_quantile
from onnxrich.results.analysis import Results
from onnxrich.results.comparison import Estimate, difference, same_rows

# Where the steps stand: in the files themselves, in their names, or nowhere.
Origin = Literal["metadata", "name", "position"]


SCHEMA = "onnxrich.track/1"

# Chance of one marked fall or more in a training in which D_LR stays what it is.
FALSE_ALARM = 0.05
# Falls smaller than this share of the largest, or than this much, are no transitions: on the same rows even rounding is
# no chance.
LEAST_SHARE, LEAST_FALL = 0.5, 0.01


@dataclass(frozen=True)
class Transition:
    """A stretch of training from lazy to rich.

    Attributes:
        start: number of the checkpoint before it.
        stop: number of the checkpoint behind it.
        change: of D_LR from one to the other, below 0.
    """

    start: int
    stop: int
    change: Estimate


@dataclass(frozen=True, eq=False)
class Tracked:
    """Everything that was found of a training.

    Attributes:
        steps: of the training, ascending.
        origin: where the steps stand: "metadata" of the files, their "name", or nowhere ("position").
        results: one a checkpoint.
        s_init: linear CKA of each checkpoint's features with those of the initial model; None without one.
        changes: for each checkpoint, by name of the metric: its value minus that of the checkpoint before.
        transitions: from lazy to rich.
        notices: what a reader should know beside the notices of each checkpoint.
    """

    steps: tuple[int, ...]
    origin: Origin
    results: tuple[Results, ...]
    s_init: tuple[Estimate | None, ...] | None
    changes: tuple[Mapping[str, Estimate], ...]
    transitions: tuple[Transition, ...]
    notices: tuple[Notice, ...]

    @classmethod
    def of(
        cls,
        steps: Sequence[int],
        results: Sequence[Results],
        *,
        origin: Origin = "metadata",
        s_init: Sequence[Estimate | None] | None = None,
    ) -> Self:
        """What the results of checkpoints say of the training, put into the order of their steps."""
        order = sorted(range(len(steps)), key=lambda number: steps[number])
        ordered = tuple(results[number] for number in order)
        alike = None if s_init is None else tuple(s_init[number] for number in order)
        return cls(
            tuple(steps[number] for number in order),
            origin,
            ordered,
            alike,
            tuple(difference(ordered[max(0, number - 1)], result) for number, result in enumerate(ordered)),
            transitions(ordered),
            tuple(_notices(ordered, origin)),
        )

    @property
    def noted(self) -> dict[str, tuple[float | None, ...]]:
        """Numbers that the checkpoints say of themselves, by name, such as an accuracy in training."""
        each = [result.record.model.noted for result in self.results]
        names = dict.fromkeys(name for noted in each for name in noted)
        return {name: tuple(noted.get(name) for noted in each) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `onnxrich.track/1`: JSON-able, without NaN or infinity."""
        return {"schema": SCHEMA, **self._found(), "analyses": [result.to_dict() for result in self.results]}

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text that ends with a newline."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """A line a checkpoint: step, model, every metric, its standard error where it is known, and what is noted."""
        found, text = self._found(), io.StringIO()
        errors = {
            f"{name}_error": [None if interval is None else interval["error"] for interval in each]
            for name, each in found["intervals"].items()
        }
        s_init = {} if self.s_init is None else {"s_init": [None if s is None else s.value for s in self.s_init]}
        noted = {f"noted_{name}": values for name, values in self.noted.items()}
        columns = {"step": self.steps, "model": found["models"], **found["metrics"], **errors, **s_init, **noted}
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue()

    @classmethod
    def from_document(cls, document: Mapping[str, Any], results: Sequence[Results]) -> Self:
        """What `to_dict` gave as a document, with its results."""
        s_init = document["s_init"]
        alike = None if s_init is None else [None if each is None else Estimate.from_dict(each) for each in s_init]
        return cls.of(document["steps"], results, origin=document["step_origin"], s_init=alike)

    def _found(self) -> dict[str, Any]:
        names = list(dict.fromkeys(name for result in self.results for name in result.metrics))
        known = [{} if result.uncertainty is None else result.uncertainty.intervals for result in self.results]
        sure = [name for name in names if any(name in each for each in known)]
        return {
            "steps": list(self.steps),
            "step_origin": self.origin,
            "models": [result.record.model.path for result in self.results],
            "metrics": {name: [result.metrics.get(name) for result in self.results] for name in names},
            "intervals": {
                name: [asdict(each[name]) if name in each else None for each in known] for name in sure
            },
            "noted": {name: list(values) for name, values in self.noted.items()},
            "changes": [{name: each.to_dict() for name, each in change.items()} for change in self.changes],
            "transitions": [
                {"from": self.steps[each.start], "to": self.steps[each.stop], "change": each.change.to_dict()}
                for each in self.transitions
            ],
            "s_init": None if self.s_init is None else [None if s is None else s.to_dict() for s in self.s_init],
            "warnings": [asdict(notice) for notice in self.notices],
        }  # fmt: skip


def transitions(results: Sequence[Results]) -> tuple[Transition, ...]:
    """Where D_LR falls by more than chance explains, and by much: stretches of training from lazy to rich.

    Between each two checkpoints the change of D_LR has the error of a pair. A fall counts when it is larger than
    Student's t times that error, t so large that in a training of m intervals without any change, one fall or more
    counts with a probability of at most `FALSE_ALARM` (Bonferroni: a level of 1 − 0.05/m for each), and larger than
    `LEAST_FALL`. Of those that count, the largest and all of at least half its size are marked, and marked neighbours
    are joined.
    """
    level = 1 - FALSE_ALARM / max(1, len(results) - 1)
    falls: dict[int, float] = {}
    for number, (before, after) in enumerate(pairwise(results)):
        change = difference(before, after).get("d_lr")
        blocks = [0 if result.uncertainty is None else result.uncertainty.blocks for result in (before, after)]
        if change is None or change.interval is None:
            continue
        if -change.value > max(LEAST_FALL, student_t_quantile(min(blocks) - 1, level) * change.interval.error):
            falls[number] = -change.value
    marked = [number for number, fall in falls.items() if fall >= LEAST_SHARE * max(falls.values())]
    stretches: list[list[int]] = []
    for number in marked:
        if stretches and stretches[-1][-1] == number - 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    ends = [(stretch[0], stretch[-1] + 1) for stretch in stretches]
    return tuple(Transition(a, b, difference(results[a], results[b])["d_lr"]) for a, b in ends)


def _notices(results: Sequence[Results], origin: Origin) -> list[Notice]:
    notices = []
    if origin == "position" and len(results) > 1:
        said = (
            "Neither the files nor their names say the steps: checkpoints are numbered in the order in which they were "
            "given, those of a folder or pattern in the order of their names."
        )
        notices.append(Notice("steps_unknown", said))
    if not all(same_rows(results[0], result) for result in results):
        said = (
            "The checkpoints were measured on different data, or on other blocks of them: changes have the errors of "
            "independent samples."
        )
        notices.append(Notice("other_data", said))
    if len(results) > 1 and any(result.uncertainty is None for result in results):
        said = "Some checkpoints have no blocks of rows, from which errors follow: no transition can be marked there."
        notices.append(Notice("no_errors", said))
    return notices
