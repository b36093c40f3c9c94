"""The result of one analysis, and the JSON document of schema `onnxrich.analysis/1`."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from onnxrich.errors import Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import Curves
from onnxrich.metrics.jackknife import Uncertainty
from onnxrich.metrics.registry import Metrics
from onnxrich.metrics.richness import Richness, compute_richness
from onnxrich.moments.matrix import Array, Moments
from onnxrich.results.anchors import Anchors, unshaped_d_lr
from onnxrich.results.layer import Layer
from onnxrich.results.provenance import Provenance
from onnxrich.results.renderable import Renderable
from onnxrich.results.serialize import to_values

SCHEMA = "onnxrich.analysis/1"

# The four choices that change the number: order of centring, rank, outputs before a softmax, rows.
CHOICES = {
    "centring": "d_lr projects on the span of the raw outputs, then centres; d_lr_centered centres first",
    "rank": "output directions at or below rank_tolerance, relative to the largest, count as rounding noise",
    "outputs": "outputs of the last linear layer, before any softmax",
    "rows": "d_lr is of these rows, and biased where they are few; d_lr_debiased is not",
}


@dataclass(frozen=True, eq=False, repr=False)
class Analysis(Renderable):
    """The numbers and curves of one model on some data.

    Attributes:
        record: model, head, data and runtime that they come from.
        metrics: numbers by name, None where undefined; `onnxrich.metric_list` has their meanings.
        curves: quality, utilization and intensity against the rank of the eigenfunctions.
        notices: what a reader should know, the `warnings` of the JSON document.
        moments: the moments from which all of it follows.
        evaluation: the same of other data, with curves over the eigenfunctions of these; None without other data.
    """

    record: Provenance
    metrics: Metrics
    curves: Curves
    notices: tuple[Notice, ...]
    moments: Moments
    evaluation: Analysis | None = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        evaluation: str | os.PathLike[str] | None = None,
        metrics: Sequence[str] | None = None,
        isolate: bool = False,
        timeout: float | None = None,
        stall_timeout: float | Literal["none"] | None = None,
        max_memory: int | Literal["none"] | None = None,
    ) -> Self:
        """Compute an analysis again from a saved `moments.npz`: neither model nor data are needed.

        Args:
            path: the file, or the folder of a report; `evaluation.npz` in that folder is taken as well.
            evaluation: the `evaluation.npz` of the same run, or its folder.
            metrics: names of metrics or families, or "all"; those that were asked for before when left out. Metrics
                that need the blocks of rows or the model's weights are null unless they were asked for before, and a
                notice says so.
            isolate: work in a worker process, so that an untrusted file can exhaust that alone.
            timeout: seconds after which the worker is ended.
            stall_timeout: seconds without progress after which the worker is ended, or "none".
            max_memory: bytes of memory at which the worker is ended, or "none".

        Raises:
            DataError: when a file is missing or damaged or has no record, when the two files are of different models,
                when no metric has a name, or when a metric is named that takes a second pass over the data.
            WorkerError: when the worker was ended.
        """
        from onnxrich.api.load import load

        return load(
            path,
            evaluation=evaluation,
            metrics=metrics,
            isolate=isolate,
            timeout=timeout,
            stall_timeout=stall_timeout,
            max_memory=max_memory,
        )  # type: ignore[return-value]

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        record: Provenance,
        *,
        blocks: Sequence[Moments] = (),
        weight: Array | None = None,
        parameter_norm: float | None = None,
    ) -> Analysis:
        """Compute metrics, their errors and curves from moments.

        Args:
            moments: moments of all rows.
            record: where they come from. Results of blocks and weights are taken from it where these are not given.
            blocks: moments of independent blocks of the rows; `moments` is their sum.
            weight: the head's W, float64 array of shape (C, p).
            parameter_norm: ‖θ‖² of the model.
        """
        from onnxrich.pipelines.evaluate import evaluate_sample

        return evaluate_sample(
            Sample.from_moments(moments, blocks, weight=weight, parameter_norm=parameter_norm), record
        )

    @property
    def uncertainty(self) -> Uncertainty | None:
        """Errors of the metrics, convergence, and whether there are enough rows; None without blocks of rows."""
        return self.record.uncertainty

    @functools.cached_property
    def anchors(self) -> Anchors | None:
        """What D_LR is read against; None where it is undefined, and of made-up inputs, which say nothing."""
        if self.record.data.synthetic or self.metrics["d_lr"] is None:
            return None
        return Anchors(unshaped_d_lr(self.moments.p, self.components.rank), self.record.initial)

    @functools.cached_property
    def components(self) -> Richness:
        """D_LR's parts: the share of the features' variance that the outputs use, directions, and ranks."""
        return compute_richness(Sample.from_moments(self.moments))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The hidden layers that were asked for, in the order in which they run, and at last the head's features."""
        return self.record.layers

    def to_dict(self) -> dict[str, Any]:
        """Return the document of schema `onnxrich.analysis/1`: JSON values without NaN or infinity."""
        record = self.record.to_dict()
        return {
            "schema": SCHEMA,
            **{part: record[part] for part in ("model", "head", "data", "runtime")},
            "metrics": dict(self.metrics),
            "uncertainty": record["uncertainty"],
            "layers": record["layers"],
            "choices": dict(CHOICES),
            "curves": _curves_document(self.curves),
            "anchors": None if self.anchors is None else self.anchors.to_dict(),
            "warnings": to_values(self.notices),
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
        }

    def __repr__(self) -> str:
        d_lr = self.metrics["d_lr"]
        number = "undefined" if d_lr is None else f"{d_lr:.4f}"
        synthetic = ", SYNTHETIC DATA" if self.record.data.synthetic else ""
        return f"<Analysis of {self.record.model.path}: D_LR = {number}, n = {self.record.data.n}{synthetic}>"


def _curves_document(curves: Curves) -> dict[str, Any]:
    names = [field.name for field in fields(curves) if field.name != "stops_at"]
    document: dict[str, Any] = {name: _list(getattr(curves, name)) for name in names}
    cumulative = [name for name in names if name not in ("k", "intensity")]
    document["individual"] = {name: _list(curves.individual(name)) for name in cumulative}
    document["stops_at"] = curves.stops_at
    return document


def _list(values: Array | None) -> list[float] | None:
    return None if values is None else values.tolist()
