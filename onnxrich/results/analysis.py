"""What one analysis found: plain data, and the JSON document of schema `onnxrich.analysis/1`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.errors import Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import Curves, compute_curves, compute_curves_on
from onnxrich.metrics.debiased import LEAST_BLOCKS
from onnxrich.metrics.jackknife import Uncertainty, estimate
from onnxrich.metrics.registry import METRICS, Metrics, evaluate, select
from onnxrich.metrics.row_order import row_order_notice, row_order_ratio
from onnxrich.moments.matrix import Array, Moments
from onnxrich.results.layer import Layer
from onnxrich.results.provenance import Provenance

SCHEMA = "onnxrich.analysis/1"

# The four choices that change the number (DESIGN: order of centring, rank, logits, rows), in words for the reader.
CHOICES = {
    "centring": "d_lr projects on the span of the raw outputs, then centres; d_lr_centered centres first",
    "rank": "output directions at or below rank_tolerance, relative to the largest, count as rounding noise",
    "outputs": "outputs of the last linear layer, before any softmax",
    "rows": "d_lr is of these rows: below about 10 rows a feature it is biased towards rich; d_lr_debiased is not",
}


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that one analysis found.

    Attributes:
        record: model, head, data and runtime that it was found with.
        metrics: numbers by name, None where undefined; meanings in `onnxrich.metrics.MEANINGS`.
        curves: quality, utilization and intensity against the rank of the eigenfunctions.
        notices: what a reader should know, as `warnings` in the JSON.
        moments: the statistic that all of it was computed from.
        evaluation: the same of other data, with curves over the eigenfunctions of these; None when there are none.
    """

    record: Provenance
    metrics: Metrics
    curves: Curves
    notices: tuple[Notice, ...]
    moments: Moments
    evaluation: Results | None = None

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Errors of the metrics, convergence, and whether there are enough rows; None when blocks were not kept."""
        return self.record.uncertainty

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The hidden layers that were asked for, in the order in which they run, and at last the head's features."""
        return self.record.layers

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        record: Provenance,
        *,
        blocks: Sequence[Moments] = (),
        weight: Array | None = None,
        parameter_norm: float | None = None,
    ) -> Self:
        """Compute metrics, their errors and curves from moments.

        Args:
            moments: of all rows.
            record: where they come from. What needs blocks or weights is taken from it when these are not given.
            blocks: the moments that they are the sum of.
            weight: the head's W, float64 array of shape (C, p).
            parameter_norm: ‖θ‖² of the model.
        """
        sample = Sample.from_moments(moments, blocks, weight=weight, parameter_norm=parameter_norm)
        return cls.from_sample(sample, record)

    @classmethod
    def from_sample(cls, sample: Sample, record: Provenance, *, fitted: Sample | None = None) -> Self:
        """Compute metrics, their errors and curves of a sample.

        Args:
            sample: the rows.
            record: where they come from.
            fitted: the rows of whose eigenfunctions the curves are; those of the sample itself when left out.
        """
        names = select(record.asked or None)
        # Tokens of a sample are alike in any order: only rows that are samples can be told to be in one.
        ratio = row_order_ratio(sample) if record.head.rows == "sample" else None
        if ratio is not None:
            sample = replace(sample, is_ordered=True)
            if not any(notice.code == "sorted_by_class" for notice in record.notices):
                record = replace(record, notices=(*record.notices, row_order_notice(ratio)))
        record = replace(record, notices=(*record.notices, *_few_blocks(sample, record)))
        with single_threaded_blas(len(sample.moments.matrix) ** 3):
            defined = [name for name in names if not (METRICS[name].depends_on_numbering and record.misnumbered)]
            metrics, about_metrics = evaluate(sample, defined)
            uncertainty = estimate(sample, defined) or record.uncertainty
            drawn, about_curves = compute_curves(sample) if fitted is None else compute_curves_on(fitted, sample)
        metrics = {name: metrics.get(name) for name in names}
        metrics |= {name: value for name, value in record.beyond.items() if metrics.get(name, 0) is None}
        beyond = {name: metrics[name] for name in names if METRICS[name].needs_more_than_moments}
        record = replace(record, beyond=beyond, uncertainty=uncertainty)
        return cls(record, metrics, drawn, (*record.notices, *about_metrics, *about_curves), sample.moments)

    def evaluated(self, evaluation: Results | None) -> Self:
        """The same results with those of other data."""
        return replace(self, evaluation=evaluation)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], moments: Moments, record: Provenance) -> Self:
        """The results whose `to_dict` gave a document, without computing anything again."""
        drawn = {entry.name: document["curves"][entry.name] for entry in fields(Curves)}
        arrays: dict[str, Any] = {
            name: None if values is None else np.asarray(values) for name, values in drawn.items()
        }
        notices = tuple(Notice(**notice) for notice in document["warnings"])
        return cls(record, dict(document["metrics"]), Curves(**arrays), notices, moments)

    def timed(self, seconds: Mapping[str, float]) -> Self:
        """The same results with the seconds of each stage in their record."""
        runtime = replace(self.record.runtime, profile=dict(seconds))
        return replace(self, record=replace(self.record, runtime=runtime))

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `onnxrich.analysis/1`: JSON-able, without NaN or infinity."""
        record = self.record.to_dict()
        described = {name: record[name] for name in ("model", "head", "data", "runtime")}
        return {
            "schema": SCHEMA,
            **described,
            "metrics": dict(self.metrics),
            "uncertainty": record["uncertainty"],
            "layers": record["layers"],
            "choices": dict(CHOICES),
            "curves": _curves_dict(self.curves),
            "warnings": [asdict(notice) for notice in self.notices],
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text that ends with a newline."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def _few_blocks(sample: Sample, record: Provenance) -> list[Notice]:
    """A notice where the batches fill too few blocks for errors; none where blocks were not asked for."""
    samples, size, runs = record.data.samples, record.runtime.batch_size, record.runtime.runs
    filled = len(sample.blocks)
    if not 0 < filled < LEAST_BLOCKS:
        return []
    if samples > filled * size * runs:
        remedy = f"Pass --blocks {LEAST_BLOCKS} or more, or leave it out"
    else:
        # Where several runs go to a block, smaller ones would be more of them.
        smaller = samples // LEAST_BLOCKS if runs == 1 else 0
        remedy = "Pass more rows"
        remedy += f", or a --batch-size of at most {smaller:,} where the model does not fix it" if smaller else ""
    message = (
        f"{samples:,} samples in batches of {size:,} fill {filled} of the blocks of rows (--blocks): error bars and "
        f"d_lr_debiased need {LEAST_BLOCKS}. {remedy}."
    )
    return [Notice("few_blocks", message)]


def _curves_dict(drawn: Curves) -> dict[str, Any]:
    names = [entry.name for entry in fields(drawn)]
    result: dict[str, Any] = {name: _list(getattr(drawn, name)) for name in names}
    cumulative = [name for name in names if name not in ("k", "intensity")]
    result["individual"] = {name: _list(drawn.individual(name)) for name in cumulative}
    return result


def _list(values: Array | None) -> list[float] | None:
    return None if values is None else values.tolist()
