"""`load`: an analysis computed again from saved moments, without model and data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxrich.errors import DataError, prefix_errors
from onnxrich.metrics.base import Sample
from onnxrich.metrics.registry import METRICS, select
from onnxrich.moments.matrix import load_record
from onnxrich.pipelines.evaluate import evaluate_sample
from onnxrich.pipelines.options import LoadOptions
from onnxrich.results.analysis import Analysis
from onnxrich.results.paths import EVALUATION, inside
from onnxrich.results.provenance import Provenance


def load(path: str | os.PathLike[str], options: LoadOptions) -> Analysis:
    """Compute an analysis from a file of moments, or the folder of a report; with moments to evaluate on if given."""
    file = inside(path) or Path(path)
    evaluation_file = inside(path if options.evaluation is None else options.evaluation, EVALUATION)
    if evaluation_file is None and options.evaluation is not None:
        evaluation_file = Path(options.evaluation)
    analysis, sample = _load(file, options.metrics)
    if evaluation_file is None:
        return analysis
    evaluation, _ = _load(evaluation_file, options.metrics, like=analysis, fitted=sample)
    return replace(analysis, evaluation=evaluation)


def load_saved(path: Path, metrics: Sequence[str] | None) -> Analysis:
    """Compute the analysis of saved moments that stand for a model.

    Raises:
        DataError: when they can't be read; the message names the file.
    """
    with prefix_errors(os.fspath(path)):
        try:
            moments, record = load_record(path)
        except DataError as error:
            raise DataError(error.found, error.needed, f"{error.remedy} Data are given by --data.") from error
        return evaluate_sample(Sample.from_moments(moments), Provenance.from_dict(record).asking(select(metrics)))


def _load(
    file: Path, metrics: Sequence[str] | None, *, like: Analysis | None = None, fitted: Sample | None = None
) -> tuple[Analysis, Sample]:
    moments, values = load_record(file)
    record = Provenance.from_dict(values)
    if metrics is not None:
        record = record.asking(select(metrics))
        _check_counted(metrics, record)
    sample = Sample.from_moments(moments)
    if like is not None:
        _check_same_model(like, sample, record)
    return evaluate_sample(sample, record, fitted=fitted), sample


def _check_counted(metrics: Sequence[str], record: Provenance) -> None:
    """Check that no readouts are named that were not counted when the moments were saved.

    Args:
        metrics: names of metrics and families as the user wrote them.
        record: the record, which asks for these.

    Raises:
        DataError: when some are; among "all" metrics they are null.
    """
    readouts = [name for name, metric in METRICS.items() if metric.family == "readouts"]
    named = readouts if "readouts" in metrics else [name for name in readouts if name in metrics]
    missing = [name for name in named if name in record.lacking]
    if missing:
        raise DataError(
            f"{', '.join(missing)} of saved moments",
            "the model and its data, which they take a second pass over",
            "Use `onnxrich run MODEL --data FILE --metrics readouts`.",
        )


def _check_same_model(first: Analysis, sample: Sample, record: Provenance) -> None:
    """Check that moments to evaluate on are of the same model and the same tensors.

    Raises:
        DataError: when they are not.
    """
    names = [f"{each.model.path} (sha256 {each.model.sha256[:12]})" for each in (first.record, record)]
    if first.record.model.sha256 == record.model.sha256:
        heads = [
            (head.features, head.outputs, moments.p, moments.C)
            for head, moments in ((first.record.head, first.moments), (record.head, sample.moments))
        ]
        if heads[0] == heads[1]:
            return
        names = [f"{p} features and {C} outputs, {features!r} and {outputs!r}" for features, outputs, p, C in heads]
    raise DataError(
        f"moments of {names[0]}, and others of {names[1]} to evaluate on",
        "both of the same model and head",
        "Pass the moments.npz and the evaluation.npz that one `onnxrich run --eval-data FILE -o DIR` wrote.",
    )
