"""The result of following a training, and the JSON document of schema `onnxrich.track/1`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from onnxrich._utils.text import printable
from onnxrich.errors import Notice
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Estimate, Similarity, Transition, difference, same_rows, transitions
from onnxrich.results.renderable import Renderable
from onnxrich.results.serialize import to_values

SCHEMA = "onnxrich.track/1"

# Where the steps stand: in the files themselves, in their names, or nowhere.
Origin = Literal["metadata", "name", "position"]


@dataclass(frozen=True, eq=False, repr=False)
class Track(Renderable):
    """The checkpoints of a training on the same data.

    Attributes:
        steps: steps of the training, ascending.
        origin: where the steps stand: "metadata" of the files, their "name", or nowhere ("position").
        results: the analysis of each checkpoint.
        s_init: linear CKA of each checkpoint's features with those of the initial model; None without one.
        changes: for each checkpoint, by name of the metric: its value minus that of the checkpoint before.
        transitions: stretches from lazy to rich.
        notices: what a reader should know beside the notices of each checkpoint.
    """

    steps: tuple[int, ...]
    origin: Origin
    results: tuple[Analysis, ...]
    s_init: tuple[Similarity | None, ...] | None
    changes: tuple[Mapping[str, Estimate], ...]
    transitions: tuple[Transition, ...]
    notices: tuple[Notice, ...]

    @classmethod
    def of(
        cls,
        steps: Sequence[int],
        results: Sequence[Analysis],
        *,
        origin: Origin = "metadata",
        s_init: Sequence[Similarity | None] | None = None,
    ) -> Self:
        """Put the analyses of checkpoints into the order of their steps, and find changes and transitions."""
        order = sorted(range(len(steps)), key=lambda number: steps[number])
        ordered = tuple(results[number] for number in order)
        changes = (difference(ordered[max(0, number - 1)], analysis) for number, analysis in enumerate(ordered))
        return cls(
            tuple(steps[number] for number in order),
            origin,
            ordered,
            None if s_init is None else tuple(s_init[number] for number in order),
            tuple(changes),
            transitions(ordered),
            tuple(_notices(ordered, origin)),
        )

    @property
    def noted(self) -> dict[str, tuple[float | None, ...]]:
        """Numbers that the checkpoints' metadata hold, by name, such as an accuracy in training."""
        noted = [analysis.record.model.noted for analysis in self.results]
        names = dict.fromkeys(name for numbers in noted for name in numbers)
        return {name: tuple(numbers.get(name) for numbers in noted) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return the document of schema `onnxrich.track/1`: JSON values without NaN or infinity."""
        names = list(dict.fromkeys(name for analysis in self.results for name in analysis.metrics))
        return {
            "schema": SCHEMA,
            "steps": list(self.steps),
            "step_origin": self.origin,
            "models": [analysis.record.model.path for analysis in self.results],
            "metrics": {name: [analysis.metrics.get(name) for analysis in self.results] for name in names},
            "intervals": self._intervals(names),
            "noted": {name: list(values) for name, values in self.noted.items()},
            "changes": [{name: estimate.to_dict() for name, estimate in change.items()} for change in self.changes],
            "transitions": [
                {
                    "from": self.steps[transition.start],
                    "to": self.steps[transition.stop],
                    "change": transition.change.to_dict(),
                }
                for transition in self.transitions
            ],
            "s_init": None
            if self.s_init is None
            else [None if estimate is None else estimate.to_dict() for estimate in self.s_init],
            "warnings": to_values(self.notices),
            "analyses": [analysis.to_dict() for analysis in self.results],
        }

    def to_csv(self) -> str:
        """Return a line a checkpoint: step, model, metrics, their errors, noted numbers, whether rows are made up.

        CSV has no escapes, so names stand there as people see them.
        """
        document, text = self.to_dict(), io.StringIO()
        errors = {
            f"{name}_{kind}": [None if interval is None else interval[kind] for interval in intervals]
            for name, intervals in document["intervals"].items()
            for kind in ("error", "half_width")
        }
        s_init = {}
        if self.s_init is not None:
            known = [(None, None) if each is None else (each.value, each.debiased) for each in self.s_init]
            s_init["s_init"] = [value for value, _ in known]
            s_init["s_init_debiased"] = [None if debiased is None else debiased.value for _, debiased in known]
        noted = {f"noted_{name}": values for name, values in self.noted.items()}
        synthetic = {"synthetic": [analysis.record.data.synthetic for analysis in self.results]}
        named = {"step": self.steps, "model": map(printable, document["models"])}
        columns = {**named, **document["metrics"], **errors, **s_init, **noted, **synthetic}
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(printable, columns))
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue()

    def _intervals(self, names: Sequence[str]) -> dict[str, Any]:
        """Errors and intervals of each checkpoint, by name of the metrics that have some."""
        known = [{} if analysis.uncertainty is None else analysis.uncertainty.intervals for analysis in self.results]
        return {
            name: [to_values(intervals[name]) if name in intervals else None for intervals in known]
            for name in names
            if any(name in intervals for intervals in known)
        }

    def __repr__(self) -> str:
        return f"<Track of {len(self.steps)} checkpoints, steps {self.steps[0]} to {self.steps[-1]}>"


def _notices(analyses: Sequence[Analysis], origin: Origin) -> list[Notice]:
    notices = []
    if origin == "position" and len(analyses) > 1:
        message = (
            "Neither the files nor their names say the steps: checkpoints are numbered in the order in which they were "
            "given, those of a folder or pattern in the order of their names."
        )
        notices.append(Notice("steps_unknown", message))
    if not all(same_rows(analyses[0], analysis) for analysis in analyses):
        message = (
            "The checkpoints were measured on different data, or on other blocks of them: changes have the errors of "
            "independent samples."
        )
        notices.append(Notice("other_data", message))
    if len(analyses) > 1 and any(analysis.uncertainty is None for analysis in analyses):
        message = (
            "Some checkpoints have no blocks of rows, from which errors follow: no transition can be marked there."
        )
        notices.append(Notice("no_errors", message))
    return notices
