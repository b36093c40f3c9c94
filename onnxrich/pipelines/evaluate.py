"""From moments to an analysis: metrics, their errors, curves, provenance and notices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxrich._utils.formatting import shape_text
from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.source import Source
from onnxrich.engine.readouts import count_decisions
from onnxrich.engine.result import PassResult
from onnxrich.engine.runtime import VERSION, Device
from onnxrich.errors import Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import compute_curves, compute_curves_on
from onnxrich.metrics.debiased import LEAST_BLOCKS, LEAST_DEBIASED
from onnxrich.metrics.jackknife import estimate
from onnxrich.metrics.label_checks import copied_labels, label_notices
from onnxrich.metrics.magnitude import check_magnitude
from onnxrich.metrics.reduction import reduce_features
from onnxrich.metrics.registry import METRICS, evaluate, select
from onnxrich.metrics.richness import few_rows_notices
from onnxrich.metrics.row_order import row_order_notice, row_order_ratio
from onnxrich.model.file import Model
from onnxrich.model.parameters import count_parameters, squared_norm, weights_sha256
from onnxrich.pipelines.options import PassOptions
from onnxrich.progress import Progress, Stage
from onnxrich.results.analysis import Analysis
from onnxrich.results.layer import Layer
from onnxrich.results.provenance import DataInfo, HeadInfo, ModelInfo, Provenance, RuntimeInfo

SYNTHETIC = Notice(
    "synthetic_data",
    "No data were given, so random inputs were made up: the numbers are a smoke test and no measurement. "
    "Pass --data FILE.",
)


def evaluate_pass(
    result: PassResult,
    model: Model,
    source: Source,
    device: Device,
    options: PassOptions,
    *,
    parameter_norm: float | None,
    layers: Sequence[Layer] = (),
    fitted: Sample | None = None,
) -> tuple[Analysis, Sample]:
    """Evaluate what a pass over data gave.

    Args:
        result: result of the pass.
        model: the model that ran.
        source: the rows that it ran over.
        device: the device that it ran on.
        options: options of the verb.
        parameter_norm: ‖θ‖² of the model, None where it is not known.
        layers: numbers of the hidden layers.
        fitted: sample over whose eigenfunctions the curves are drawn; the sample itself when left out.

    Returns:
        The analysis, and the sample over whose eigenfunctions others may be evaluated.
    """
    options.listen(Progress(Stage.METRICS))
    record = _provenance(result, model, source, device, options)
    record = replace(
        record,
        asked=tuple(options.metrics or ()),
        layers=tuple(layers),
        notices=(*result.head.notices, *record.notices),
    )
    weight = None if result.head.affine is None else result.head.affine.weight
    sample = Sample.from_moments(result.moments, result.blocks, weight=weight, parameter_norm=parameter_norm)
    if any(METRICS[name].family == "readouts" for name in select(record.asked or None)):
        sample = count_decisions(
            result.prepared,
            source,
            sample,
            size=result.batch_size,
            batches_per_product=result.batches_per_product,
            listen=options.listen,
        )
    return evaluate_sample(sample, record, fitted=fitted), sample


def parameter_norm_of(model: Model, options: PassOptions) -> float | None:
    """Compute ‖θ‖². Weights in other files are read only for those who ask for it by name."""
    return squared_norm(model, external="parameter_norm" in (options.metrics or ()))


def evaluate_sample(sample: Sample, record: Provenance, *, fitted: Sample | None = None) -> Analysis:
    """Compute metrics, their errors and curves of a sample.

    Args:
        sample: the rows, as moments.
        record: where they come from.
        fitted: sample over whose eigenfunctions the curves are drawn; the sample itself when left out.

    Raises:
        DataError: when features or outputs are too large or too small for double precision.
    """
    check_magnitude(sample.moments)
    names, original = select(record.asked or None), sample
    sample = reduce_features(sample)
    sample, record = _check_row_order(sample, record)
    record = replace(record, notices=(*record.notices, *_few_blocks(sample, record)))
    with single_threaded_blas(len(sample.moments.matrix) ** 3):
        defined = [name for name in names if not (METRICS[name].depends_on_numbering and record.misnumbered)]
        metrics, metric_notices = evaluate(sample, defined)
        uncertainty = estimate(sample, defined) or record.uncertainty
        curves = compute_curves(sample) if fitted is None else compute_curves_on(fitted, original)
    metrics = {name: metrics.get(name) for name in names}
    metrics |= {name: value for name, value in record.beyond.items() if metrics.get(name, 0) is None}
    beyond = {name: metrics[name] for name in names if METRICS[name].needs_more_than_moments}
    record = replace(record, beyond=beyond, uncertainty=uncertainty)
    measured = (None, "") if uncertainty is None else (uncertainty.needed, uncertainty.summary)
    rows_notices = few_rows_notices(sample.moments.n, sample.p, *measured)
    notices = [notice for notice in metric_notices if notice.code != "few_rows"]
    return Analysis(record, metrics, curves, (*record.notices, *rows_notices, *notices), original.moments)


def with_profile(analysis: Analysis, seconds: Mapping[str, float]) -> Analysis:
    """Put the seconds of each stage into the record of an analysis."""
    runtime = replace(analysis.record.runtime, profile=dict(seconds))
    return replace(analysis, record=replace(analysis.record, runtime=runtime))


def _check_row_order(sample: Sample, record: Provenance) -> tuple[Sample, Provenance]:
    """Mark rows that lie in an order, and add a notice. Tokens of a sample are alike in any order: they can't tell."""
    ratio = row_order_ratio(sample) if record.head.rows == "sample" else None
    if ratio is None:
        return sample, record
    known = any(notice.code == "sorted_by_class" for notice in record.notices)
    notices = record.notices if known else (*record.notices, row_order_notice(ratio))
    return replace(sample, is_ordered=True), replace(record, notices=notices)


def _few_blocks(sample: Sample, record: Provenance) -> list[Notice]:
    """A notice where the batches fill too few blocks for errors; none where no blocks were asked for."""
    samples, size, batches = record.data.samples, record.runtime.batch_size, record.runtime.runs
    filled = len(sample.blocks)
    if not 0 < filled < LEAST_BLOCKS:
        return []
    if samples > filled * size * batches:
        remedy = f"Pass --blocks {LEAST_BLOCKS} or more, or leave it out"
    else:
        # Where several batches go to a block, smaller ones would only be more of them.
        smaller = samples // LEAST_BLOCKS if batches == 1 else 0
        remedy = "Pass more rows"
        remedy += f", or a --batch-size of at most {smaller:,} where the model does not fix it" if smaller else ""
    message = (
        f"{samples:,} samples in batches of {size:,} fill {filled} of the blocks of rows (--blocks): error bars "
        f"need {LEAST_BLOCKS}, d_lr_debiased {LEAST_DEBIASED}. {remedy}."
    )
    return [Notice("few_blocks", message)]


def _batch_axis_notices(model: Model, options: PassOptions) -> list[Notice]:
    """Say where the samples lie when the names of the dimensions told it, and nobody else."""
    if options.batch_axis is not None:
        return []
    moved = [entry for entry in model.inputs if entry.batch_axis and entry.declared_shape]
    listed = ", ".join(
        f"axis {entry.batch_axis} of {entry.name!r} ({shape_text(entry.declared_shape or ())})" for entry in moved[:3]
    )
    message = f"By the names of the dimensions, samples lie along {listed}. Pass --batch-axis N where they don't."
    return [Notice("batch_axis", message)] if moved else []


def _provenance(result: PassResult, model: Model, source: Source, device: Device, options: PassOptions) -> Provenance:
    """Record where the numbers of a pass come from.

    Args:
        result: result of the pass.
        model: the model that ran.
        source: the rows that it ran over.
        device: the device that it ran on.
        options: options of the verb.
    """
    head, batch_size = result.head, options.batch_size
    notices = [*([SYNTHETIC] if source.synthetic else []), *source.skipped.notices()]
    if batch_size is not None and result.has_fixed_batch and batch_size != result.batch_size:
        message = f"The model fixes its batch size at {result.batch_size}; --batch-size {batch_size} was not used."
        notices.append(Notice("fixed_batch", message))
    notices += _batch_axis_notices(model, options)
    first = result.prepared.first
    notices += copied_labels(first.labels, first.inputs)
    notices += [*label_notices(result.moments, first.labels, source.class_names), *result.notices]
    return Provenance(
        ModelInfo(
            model.path,
            model.sha256,
            model.producer,
            model.opset,
            count_parameters(model),
            model.step,
            model.noted,
            weights_sha256(model),
        ),
        HeadInfo(
            head.features.tensor,
            head.outputs.tensor,
            head.kind,
            result.rows_kind,
            head.p,
            head.C,
            verified=result.residual is not None,
            residual=result.residual,
            mask=None if result.mask is None else str(result.mask),
        ),
        DataInfo(
            source.name,
            round(result.moments.n),
            result.classes,
            source.synthetic,
            samples=result.samples,
            fingerprint=result.fingerprint,
            class_names=source.class_names,
            preprocessing=source.preprocessing,
        ),
        RuntimeInfo(
            device.name,
            result.providers,
            VERSION,
            result.batch_size,
            result.seconds,
            reason=device.reason,
            devices=device.numbers,
            nodes=result.nodes,
            blocks=max(1, len(result.blocks)),
            runs=result.batches_per_product,
            sequence=result.sequence,
            resumed=result.resumed,
        ),
        tuple(notices),
    )
