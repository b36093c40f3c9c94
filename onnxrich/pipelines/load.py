"""`load`: an analysis computed again from saved moments, without model and data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxrich.errors import DataError, prefix_errors
from onnxrich.metrics.base import Sample
from onnxrich.metrics.registry import METRICS, select
from onnxrich.moments.matrix import Moments, load_record
from onnxrich.pipelines.evaluate import evaluate_sample
from onnxrich.pipelines.options import LoadOptions
from onnxrich.results.analysis import Analysis
from onnxrich.results.document import check_document, document_beside, read_document
from onnxrich.results.invariants import check_record, with_metrics
from onnxrich.results.paths import EVALUATION, inside, moments_of
from onnxrich.results.provenance import Provenance


def load(path: str | os.PathLike[str], options: LoadOptions) -> Analysis:
    """Compute an analysis from a file of moments, or the folder of a report; with moments to evaluate on if given."""
    file = inside(path) or Path(path)
    evaluation_file = inside(path if options.evaluation is None else options.evaluation, EVALUATION)
    if evaluation_file is None and options.evaluation is not None:
        evaluation_file = Path(options.evaluation)
    document = _document_of(path)
    analysis, sample = _load(file, options.metrics, document=document)
    if evaluation_file is None:
        return analysis
    of_evaluation = None if document is None or options.evaluation is not None else document["evaluation"]
    evaluation, _ = _load(evaluation_file, options.metrics, document=of_evaluation, like=analysis, fitted=sample)
    return replace(analysis, evaluation=evaluation)


def load_saved(given: Any, metrics: Sequence[str] | None) -> Analysis:
    """Compute the analysis of saved moments that stand for a model.

    Args:
        given: path of their file, or of a report that holds them.
        metrics: names of metrics or families; the default ones when left out.

    Raises:
        DataError: when they can't be read; the message names the file.
    """
    path = moments_of(given) or Path(given)
    with prefix_errors(os.fspath(path)):
        try:
            moments, values = load_record(path)
        except DataError as error:
            raise DataError(error.found, error.needed, f"{error.remedy} Data are given by --data.") from error
        record = _read_record(values, moments).asking(select(metrics))
        analysis = _evaluate(Sample.from_moments(moments), record)
        return _checked(analysis, values, _document_of(given))


def _load(
    file: Path,
    metrics: Sequence[str] | None,
    *,
    document: Mapping[str, Any] | None,
    like: Analysis | None = None,
    fitted: Sample | None = None,
) -> tuple[Analysis, Sample]:
    moments, values = load_record(file)
    record = _read_record(values, moments)
    if metrics is not None:
        record = record.asking(select(metrics))
        _check_counted(metrics, record)
    sample = Sample.from_moments(moments)
    if like is not None:
        _check_same_model(like, sample, record)
    return _checked(_evaluate(sample, record, fitted=fitted), values, document), sample


def _document_of(given: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The document of a report, where a report was given and holds one."""
    path = document_beside(given)
    return None if path is None else read_document(path)


def _read_record(values: Mapping[str, Any], moments: Moments) -> Provenance:
    """Read a record that was saved with moments.

    Raises:
        DataError: when it has another form, or contradicts itself or the moments.
    """
    record = Provenance.from_dict(values)
    check_record(record, moments)
    return record


def _evaluate(sample: Sample, record: Provenance, *, fitted: Sample | None = None) -> Analysis:
    """Compute the analysis of a sample, and from its metrics what of its record follows from them."""
    analysis = evaluate_sample(sample, record, fitted=fitted)
    return replace(analysis, record=with_metrics(analysis.record, analysis.metrics))


def _checked(analysis: Analysis, values: Mapping[str, Any], document: Mapping[str, Any] | None) -> Analysis:
    """An analysis with a notice where the document of its report says other numbers."""
    notices = () if document is None else check_document(document, values, analysis.metrics)
    return replace(analysis, notices=(*analysis.notices, *notices))


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
