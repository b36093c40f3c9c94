"""The result of a comparison of models, and the JSON document of schema `onnxrich.comparison/1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from onnxrich.errors import Notice
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Estimate, Pair, Similarity, difference, same_rows
from onnxrich.results.renderable import Renderable
from onnxrich.results.serialize import to_values

SCHEMA = "onnxrich.comparison/1"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Renderable):
    """Several models on the same data.

    Attributes:
        results: the analysis of each model.
        initial: number of the model that the others began their training from; None when none is declared.
        differences: for each model, by name of the metric: its value minus that of the first model.
        cka: linear CKA of the features of two models, by their numbers; pairs that can't be compared are left out.
        notices: what a reader should know beside the notices of each model.
        memory: bytes of all sums that the pass kept on the device; 0 when no model was run.
    """

    results: tuple[Analysis, ...]
    initial: int | None
    differences: tuple[Mapping[str, Estimate], ...]
    cka: Mapping[Pair, Similarity]
    notices: tuple[Notice, ...]
    memory: int = 0

    @classmethod
    def of(
        cls,
        results: Sequence[Analysis],
        *,
        initial: int | None = None,
        cka: Mapping[Pair, Similarity] | None = None,
        notices: Sequence[Notice] = (),
        memory: int = 0,
    ) -> Self:
        """Compare analyses with the first of them.

        Args:
            results: the analysis of each model.
            initial: number of the initial model.
            cka: linear CKA of the pairs of which it is known.
            notices: what a reader should know of the pairs.
            memory: bytes of all sums.
        """
        differences = tuple(difference(results[0], analysis) for analysis in results)
        if not all(same_rows(results[0], analysis) for analysis in results):
            message = (
                "The results rest on different data, or on other blocks of them: their differences have the errors of "
                "independent samples."
            )
            notices = (*notices, Notice("other_data", message))
        return cls(tuple(results), initial, differences, dict(cka or {}), tuple(notices), memory)

    def similarity(self, a: int, b: int) -> Similarity | None:
        """Return linear CKA of the features of two models: 1 of a model and itself, None where it is not known."""
        return Similarity(1.0) if a == b else self.cka.get((min(a, b), max(a, b)))

    @property
    def s_init(self) -> tuple[Similarity | None, ...] | None:
        """S_init of each model: linear CKA of its features and those of the initial model; None without one."""
        if self.initial is None:
            return None
        return tuple(self.similarity(number, self.initial) for number in range(len(self.results)))

    def to_dict(self) -> dict[str, Any]:
        """Return the document of schema `onnxrich.comparison/1`: JSON values without NaN or infinity."""
        names = list(dict.fromkeys(name for analysis in self.results for name in analysis.metrics))
        numbers = range(len(self.results))
        s_init = self.s_init
        return {
            "schema": SCHEMA,
            "models": [analysis.record.model.path for analysis in self.results],
            "initial": self.initial,
            "memory": self.memory,
            "metrics": {name: [analysis.metrics.get(name) for analysis in self.results] for name in names},
            "differences": [
                {name: estimate.to_dict() for name, estimate in model.items()} for model in self.differences
            ],
            "cka": [[_document(self.similarity(a, b)) for b in numbers] for a in numbers],
            "s_init": None if s_init is None else [_document(estimate) for estimate in s_init],
            "warnings": to_values(self.notices),
            "analyses": [analysis.to_dict() for analysis in self.results],
        }

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(analysis.record.model.path for analysis in self.results)}>"


def _document(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()
