"""From a model and data to results, in this process: joins reading, head finding, the pass and the metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnx import ModelProto

from onnxrich.data import open as sources
from onnxrich.engine import readouts, result
from onnxrich.engine import runtime as session
from onnxrich.engine import single_pass as stream
from onnxrich.engine.layers import LayerRequest
from onnxrich.errors import DataError, Notice
from onnxrich.metrics import label_checks as labelled
from onnxrich.metrics.base import Sample, sample_of
from onnxrich.metrics.registry import ALL, select
from onnxrich.model import file as models
from onnxrich.model import parameters
from onnxrich.model.head import head as heads
from onnxrich.model.patch import instrument as rewrite
from onnxrich.progress import Listener, Progress, Timing
from onnxrich.results.analysis import Results
from onnxrich.results.provenance import DataInfo, HeadInfo, ModelInfo, Provenance, RuntimeInfo

# The name that stands for all layers.
ALL_LAYERS = "all"

SYNTHETIC = Notice(
    "synthetic_data",
    "No data were given, so random inputs were made up: the numbers are a smoke test and no measurement. "
    "Pass --data FILE.",
)


def run(
    model: str | os.PathLike[str] | bytes | ModelProto,
    data: Any = None,
    labels: Any = None,
    *,
    eval_data: Any = None,
    eval_labels: Any = None,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    mask: str | None = None,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: int | None = None,
    layers: Sequence[str] | None = None,
    token: int | None = None,
    memory: int | None = None,
    device: str = "auto",
    provider: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    name: str | None = None,
    reading: Any = None,
    preprocessing: Any = None,
    listen: Listener = lambda _: None,
) -> Results:
    """The results of one model; arguments and errors as in `onnxrich.run`.

    Further arguments are how results and messages name the model, and the memory that moments may count on.
    """
    timing = Timing()
    choice = session.choose(device, provider)
    with timing.measure("reading the model"):
        listen(Progress("reading the model"))
        read = models.read(model)
        rewrite.check_not_instrumented(read)
        read = read if name is None else replace(read, path=name)
        found = heads.find(read, features=features, outputs=outputs, number=head)
        how = {"widths": [found.C], "seed": seed, "reading": reading, "preprocessing": preprocessing}
        source = sources.open_source(read, data, labels, **how)
        others = [source]
        if eval_data is not None:
            evaluated_on = sources.open_source(read, eval_data, eval_labels, **how)
            others.append(sources.align_classes_with(evaluated_on, source))
        elif eval_labels is not None:
            raise DataError("labels to evaluate on without data", "both, or none", "Pass --eval-data FILE as well.")
    asked = None
    if layers is not None:
        names = None if tuple(layers) == (ALL_LAYERS,) else tuple(layers)
        asked = LayerRequest(names, token, memory, blocks)
    # Weights outside the file are read for those alone who ask for them by name.
    norm = parameters.squared_norm(read, external="parameter_norm" in (metrics or ()))
    done: list[tuple[Results, Sample]] = []
    for each, saved, deep in zip(others, (checkpoint, None), (asked, None), strict=False):
        passed = stream.measure_one(
            read, found, each, batch=batch_size, blocks=blocks, mask=mask, device=choice, saved=saved, layers=deep,
            memory=memory, timing=timing, listen=listen,
        )  # fmt: skip
        record = _record(read, each, passed, choice, batch_size)
        record = replace(record, asked=tuple(metrics or ()), layers=passed.layers)
        fitted = done[0][1] if done else None
        with timing.measure("computing the metrics"):
            done.append(_measured(passed, each, record, norm=norm, fitted=fitted, listen=listen))
    results, *evaluation = (each for each, _ in done)
    return results.evaluated(evaluation[0] if evaluation else None).timed(timing.seconds)


def evaluated(
    model: models.Model,
    source: sources.Source,
    passed: result.PassResult,
    choice: session.Choice,
    *,
    metrics: Sequence[str] | None,
    batch_size: int | None,
    listen: Listener,
) -> Results:
    """The results of a pass; `metrics` and `batch_size` are what the user asked for."""
    record = replace(_record(model, source, passed, choice, batch_size), asked=tuple(metrics or ()))
    norm = parameters.squared_norm(model, external="parameter_norm" in (metrics or ()))
    return _measured(passed, source, record, norm=norm, fitted=None, listen=listen)[0]


def _measured(
    passed: result.PassResult,
    source: sources.Source,
    record: Provenance,
    *,
    norm: float | None,
    fitted: Sample | None,
    listen: Listener,
) -> tuple[Results, Sample]:
    """The results of a pass, and the sample that others may be evaluated over."""
    listen(Progress("computing the metrics"))
    weight = None if passed.head.affine is None else passed.head.affine.weight
    sample = sample_of(passed.moments, passed.blocks, weight=weight, parameter_norm=norm)
    if any(ALL[name].family == "readouts" for name in select(record.asked or None)):
        sample = readouts.count_decisions(
            passed.live, source, sample, size=passed.batch_size, runs=passed.runs, listen=listen
        )  # fmt: skip
    return Results.from_sample(sample, record, fitted=fitted), sample


def _record(
    model: models.Model, source: sources.Source, passed: result.PassResult, choice: session.Choice, asked: int | None
) -> Provenance:
    head = passed.head
    assert head.p is not None and head.C is not None  # noqa: S101 - measured by the pass
    notices = [*([SYNTHETIC] if source.synthetic else []), *source.skipped.notices()]
    if asked is not None and passed.fixed and asked != passed.batch_size:
        message = f"The model fixes its batch size at {passed.batch_size}; --batch-size {asked} was not used."
        notices.append(Notice("fixed_batch", message))
    notices += [*labelled.label_notices(passed.moments, passed.live.labels, source.class_names), *passed.notices]
    return Provenance(
        ModelInfo(model.path, model.sha256, model.producer, model.opset, model.parameters, model.step, model.noted),
        HeadInfo(
            head.features.tensor,
            head.outputs.tensor,
            head.kind,
            passed.rows_kind,
            head.p,
            head.C,
            verified=passed.residual is not None,
            residual=passed.residual,
            mask=passed.mask,
        ),
        DataInfo(
            source.name,
            round(passed.moments.n),
            passed.classes,
            source.synthetic,
            samples=passed.samples,
            fingerprint=passed.fingerprint,
            class_names=source.class_names,
            preprocessing=source.preprocessing,
        ),
        RuntimeInfo(
            choice.device,
            passed.providers,
            session.VERSION,
            passed.batch_size,
            passed.seconds,
            reason=choice.reason,
            devices=choice.numbers,
            nodes=passed.nodes,
            blocks=max(1, len(passed.blocks)),
            runs=passed.runs,
            sequence=passed.sequence,
            resumed=passed.resumed,
        ),
        tuple(notices),
    )
