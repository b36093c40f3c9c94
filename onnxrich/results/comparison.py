"""What a comparison of models found: plain data, and the JSON document of schema `onnxrich.comparison/1`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics.jackknife import Interval, jackknife_interval
from onnxrich.metrics.registry import METRICS
from onnxrich.metrics.similarity import FeatureSums, leave_out_each, linear_cka
from onnxrich.moments.matrix import Array, Moments
from onnxrich.results.analysis import Results

SCHEMA = "onnxrich.comparison/1"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Estimate:
    """A number with its error and 95 % interval, None where they are not known.

    `paired` says whether the error is that of two models on the same rows, whose chances partly cancel.
    """

    value: float
    interval: Interval | None = None
    paired: bool = False

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        ends = {"error": None, "low": None, "high": None} if self.interval is None else asdict(self.interval)
        return {"value": self.value, **ends, "paired": self.paired}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave, as an object."""
        ends = [values[name] for name in ("error", "low", "high")]
        return cls(values["value"], None if ends[0] is None else Interval(*ends), values["paired"])


@dataclass(frozen=True, eq=False)
class Compared:
    """Everything that a comparison found.

    Attributes:
        results: one a model.
        initial: number of the model that the others began their training from; None when none is declared.
        differences: for each model, by name of the metric: its value minus that of the first model.
        cka: linear CKA of the features of two models, by their numbers; pairs that can't be compared are left out.
        notices: what a reader should know beside the notices of each model.
        memory: bytes of all sums that the pass kept on the device; 0 when no model was run.
    """

    results: tuple[Results, ...]
    initial: int | None
    differences: tuple[Mapping[str, Estimate], ...]
    cka: Mapping[Pair, Estimate]
    notices: tuple[Notice, ...]
    memory: int = 0

    @classmethod
    def of(
        cls,
        results: Sequence[Results],
        *,
        initial: int | None = None,
        cka: Mapping[Pair, Estimate] | None = None,
        notices: Sequence[Notice] = (),
        memory: int = 0,
    ) -> Self:
        """The comparison of some results.

        Args:
            results: one a model.
            initial: number of the initial model.
            cka: of the pairs that it is known of.
            notices: what is known of the pairs.
            memory: bytes of all sums.
        """
        differences = tuple(difference(results[0], result) for result in results)
        if not all(same_rows(results[0], result) for result in results):
            said = (
                "The results rest on different data, or on other blocks of them: their differences have the errors of "
                "independent samples."
            )
            notices = (*notices, Notice("other_data", said))
        return cls(tuple(results), initial, differences, dict(cka or {}), tuple(notices), memory)

    def similarity(self, a: int, b: int) -> Estimate | None:
        """Linear CKA of the features of two models: 1 of a model and itself."""
        return Estimate(1.0) if a == b else self.cka.get((min(a, b), max(a, b)))

    @property
    def s_init(self) -> tuple[Estimate | None, ...] | None:
        """S_init of each model, the linear CKA of its features and those of the initial model; None without one."""
        if self.initial is None:
            return None
        return tuple(self.similarity(number, self.initial) for number in range(len(self.results)))

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `onnxrich.comparison/1`: JSON-able, without NaN or infinity."""
        return {"schema": SCHEMA, **self._found(), "analyses": [result.to_dict() for result in self.results]}

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text that ends with a newline."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_document(cls, document: Mapping[str, Any], results: Sequence[Results]) -> Self:
        """The comparison whose `to_dict` gave a document, with its results."""
        differences = (
            {name: Estimate.from_dict(each) for name, each in model.items()} for model in document["differences"]
        )
        cka = {
            (a, b): Estimate.from_dict(each)
            for a, row in enumerate(document["cka"])
            for b, each in enumerate(row)
            if each is not None and a < b
        }
        notices = tuple(Notice(**notice) for notice in document["warnings"])
        return cls(tuple(results), document["initial"], tuple(differences), cka, notices, document["memory"])

    def _found(self) -> dict[str, Any]:
        names = list(dict.fromkeys(name for result in self.results for name in result.metrics))
        numbers = range(len(self.results))
        estimates = [[self.similarity(a, b) for b in numbers] for a in numbers]
        s_init = self.s_init
        return {
            "models": [result.record.model.path for result in self.results],
            "initial": self.initial,
            "memory": self.memory,
            "metrics": {name: [result.metrics.get(name) for result in self.results] for name in names},
            "differences": [{name: each.to_dict() for name, each in model.items()} for model in self.differences],
            "cka": [[_dict(each) for each in row] for row in estimates],
            "s_init": None if s_init is None else [_dict(each) for each in s_init],
            "warnings": [asdict(notice) for notice in self.notices],
        }


def same_rows(a: Results, b: Results) -> bool:
    """Whether two results rest on the same rows, in the same blocks, whatever their file is called."""
    return _rows(a) == _rows(b)


def _rows(result: Results) -> tuple[str, int, str, int, int]:
    data, runtime = result.record.data, result.record.runtime
    return data.fingerprint, data.n, runtime.sequence, runtime.batch_size, runtime.runs


def difference(first: Results, other: Results) -> dict[str, Estimate]:
    """The metrics of a model minus those of the first, those left out that are facts about the model.

    On the same rows the error is that of the difference itself: the jackknife over d_(−g) = mᵇ_(−g) − mᵃ_(−g), the
    metrics of both without the same block of rows (Busing, Meijer & van der Leeden 1999), so that what chance does to
    both cancels. Otherwise the squares of the two errors add up.
    """
    found = {}
    for name, value in other.metrics.items():
        before, known = first.metrics.get(name), METRICS[name].scale == "fact"
        if value is not None and before is not None and first is not other and not known:
            found[name] = _difference(first, other, name, float(value) - float(before))
    return found


def _difference(first: Results, other: Results, name: str, value: float) -> Estimate:
    a, b = first.uncertainty, other.uncertainty
    if a is None or b is None or name not in a.intervals or name not in b.intervals:
        return Estimate(value)
    if same_rows(first, other) and a.shares == b.shares:
        apart = np.array(b.replicates[name]) - np.array(a.replicates[name])
        return Estimate(value, jackknife_interval(value, apart, np.array(a.shares), scale="real"), paired=True)
    ends = (a.intervals[name], b.intervals[name])
    half = float(np.hypot(ends[0].half, ends[1].half))
    error = float(np.hypot(ends[0].error, ends[1].error))
    return Estimate(value, Interval(error, value - half, value + half))


def similarities(
    moments: Sequence[Moments], blocks: Sequence[Sequence[Moments]], products: Mapping[Pair, Sequence[Array]]
) -> dict[Pair, Estimate]:
    """Linear CKA of pairs of models, with the block jackknife where the products were kept for each block.

    Args:
        moments: of each model.
        blocks: of each model; empty where they were not kept apart.
        products: by the numbers of the two models: Σ (φᵃ − shift)(φᵇ − shift)ᵀ of each block, or of all rows.
    """
    wholes = [FeatureSums.from_moments(each) for each in moments]
    apart = any(len(each) > 1 for each in products.values())
    rests = [leave_out_each(whole, parts) for whole, parts in zip(moments, blocks, strict=True)] if apart else []
    found = {}
    for (a, b), each in products.items():
        total = np.sum(each, axis=0)
        value = linear_cka(wholes[a], wholes[b], total)
        if value is None:
            continue
        if len(each) == 1:
            found[a, b] = Estimate(value)
            continue
        without = [linear_cka(rests[a][g], rests[b][g], total - part) for g, part in enumerate(each)]
        shares = np.array([part.n for part in blocks[a]]) / moments[a].n
        defined = [float("nan") if cka is None else cka for cka in without]
        ends = jackknife_interval(value, np.array(defined), shares, scale="share") if None not in without else None
        found[a, b] = Estimate(value, ends, paired=True)
    return found


def _dict(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()
