"""From a model and data to results, in this process: joins reading, head finding, the pass and the metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnx import ModelProto

from onnxrich import head as heads
from onnxrich import model as models
from onnxrich import parameters, session, sources, stream
from onnxrich.errors import Notice
from onnxrich.progress import Listener, Progress
from onnxrich.results import DataInfo, HeadInfo, ModelInfo, Record, Results, RuntimeInfo
from onnxrich.timing import Timing

SYNTHETIC = Notice(
    "synthetic_data",
    "No data were given, so random inputs were made up: the numbers are a smoke test and no measurement. "
    "Pass --data FILE.",
)


def analyze(
    model: str | os.PathLike[str] | bytes | ModelProto,
    data: Any = None,
    labels: Any = None,
    *,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    mask: str | None = None,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: int | None = None,
    device: str = "auto",
    provider: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    name: str | None = None,
    reading: Any = None,
    preprocessing: Any = None,
    listen: Listener = lambda _: None,
) -> Results:
    """The results of one model; arguments and errors as in `onnxrich.run`, and how results and messages name it."""
    timing = Timing()
    choice = session.choose(device, provider)
    with timing.measure("reading the model"):
        listen(Progress("reading the model"))
        read = models.read(model)
        read = read if name is None else replace(read, path=name)
        found = heads.find(read, features=features, outputs=outputs, number=head)
        source = sources.open_source(read, data, labels, seed=seed, reading=reading, preprocessing=preprocessing)
    passed = stream.run(
        read, found, source, batch=batch_size, blocks=blocks, mask=mask, device=choice, saved=checkpoint,
        timing=timing, listen=listen,
    )  # fmt: skip
    listen(Progress("computing the metrics", passed.samples, passed.samples))
    record = replace(_record(read, source, passed, choice, batch_size), asked=tuple(metrics or ()))
    affine = passed.head.affine
    with timing.measure("computing the metrics"):
        # Weights outside the file are read for those alone who ask for them by name.
        norm = parameters.squared_norm(read, external="parameter_norm" in (metrics or ()))
        results = Results.from_moments(
            passed.moments,
            record,
            blocks=passed.blocks,
            weight=None if affine is None else affine.weight,
            parameter_norm=norm,
        )
    return results.timed(timing.seconds)


def _record(
    model: models.Model, source: sources.Source, passed: stream.Pass, choice: session.Choice, asked: int | None
) -> Record:
    head = passed.head
    assert head.p is not None and head.C is not None  # noqa: S101 - measured by the pass
    notices = [*([SYNTHETIC] if source.synthetic else []), *source.ledger.notices()]
    if asked is not None and passed.fixed and asked != passed.batch_size:
        message = f"The model fixes its batch size at {passed.batch_size}; --batch-size {asked} was not used."
        notices.append(Notice("fixed_batch", message))
    notices += passed.notices
    return Record(
        ModelInfo(model.path, model.sha256, model.producer, model.opset, model.parameters, model.step),
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
        ),
        tuple(notices),
    )
