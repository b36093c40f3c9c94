"""From several models and data to a comparison, in this process: joins reading, the joint pass and the metrics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxrich.data import open as sources
from onnxrich.data.shared import adapt_source, choose_leader
from onnxrich.engine import joint_pass as joint
from onnxrich.engine import runtime as session
from onnxrich.errors import DataError, Notice, prefix_errors
from onnxrich.metrics.registry import select
from onnxrich.model import file as models
from onnxrich.model.head import head as heads
from onnxrich.model.patch import instrument as rewrite
from onnxrich.moments.matrix import load_record
from onnxrich.pipelines import run as pipeline
from onnxrich.progress import Listener, Progress, Timing
from onnxrich.results.analysis import Results
from onnxrich.results.comparison import Compared, similarities
from onnxrich.results.paths import moments_of
from onnxrich.results.provenance import Provenance

# What options are when they are left out, where that is not None.
LEFT_OUT = {"device": "auto", "seed": 0}
# What stands for a model: a file of one, of saved moments, the folder of a report, or the model itself.
Given = str | os.PathLike[str] | bytes | ModelProto


def compare(
    given: Sequence[Given],
    data: Any = None,
    labels: Any = None,
    *,
    initial: int | None = None,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    mask: str | None = None,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: int | None = None,
    device: str = "auto",
    provider: str | None = None,
    seed: int = 0,
    reading: Any = None,
    preprocessing: Any = None,
    listen: Listener = lambda _: None,
) -> Compared:
    """The comparison of several models; arguments and errors as in `onnxrich.compare`."""
    timing = Timing()
    kept = {number: path for number, each in enumerate(given) if (path := moments_of(each)) is not None}
    saved = {number: load(path, metrics) for number, path in kept.items()}
    fresh = [number for number in range(len(given)) if number not in saved]
    if not fresh:
        check_unused(
            data=data, labels=labels, features=features, outputs=outputs, head=head, mask=mask, batch_size=batch_size,
            blocks=blocks, device=device, provider=provider, seed=seed, reading=reading, preprocessing=preprocessing,
        )  # fmt: skip
        return Compared.of([saved[number] for number in range(len(given))], initial=initial, notices=[_NO_PRODUCTS])
    choice = session.choose(device, provider)
    with timing.measure("reading the model"):
        read = []
        for number in fresh:
            listen(Progress(f"reading model {number + 1} of {len(given)}"))
            read.append(_read(given[number], features=features, outputs=outputs, number=head))
        leader = choose_leader([model for model, _ in read])
        led = sorted(read, key=lambda each: each[0] is not leader)
        source = sources.open_source(
            leader, data, labels, others=[model for model, _ in led[1:]], widths=[head.C for _, head in led], seed=seed,
            reading=reading, preprocessing=preprocessing,
        )  # fmt: skip
    passed = joint.measure_jointly(
        read, source, leader, device=choice, batch=batch_size, blocks=blocks, mask=mask, timing=timing, listen=listen
    )
    listen(Progress("computing the metrics"))
    with timing.measure("computing the metrics"):
        found = dict(saved)
        for number, (model, _), each in zip(fresh, read, passed.passes, strict=True):
            own = adapt_source(model, source, leader)
            found[number] = pipeline.evaluated(
                model, own, each, choice, metrics=metrics, batch_size=batch_size, listen=listen
            )
        alike = similarities(
            [each.moments for each in passed.passes], [each.blocks for each in passed.passes], passed.products
        )
    cka = {(fresh[a], fresh[b]): estimate for (a, b), estimate in alike.items()}
    notices = [*passed.notices, *([_NO_PRODUCTS] if saved else [])]
    found |= {number: found[number].timed(timing.seconds) for number in fresh}
    return Compared.of(
        [found[number] for number in range(len(given))], initial=initial, cka=cka, notices=notices, memory=passed.memory
    )


_NO_PRODUCTS = Notice(
    "saved_moments", "Saved moments hold no products of two models' features: there is no CKA with these."
)


def check_unused(*, reading: Any = None, preprocessing: Any = None, **options: Any) -> None:
    """Check that nothing was asked for that saved moments alone have no use for: there is nothing to run.

    Args:
        reading: how data are to be read.
        preprocessing: steps of it.
        options: others by name, of which None, and what is taken when they are left out, ask for nothing.

    Raises:
        DataError: when something was; the message names it.
    """
    wanted, plain = asdict(sources.Selection.of(reading)), asdict(sources.Selection())
    given = [name for name, value in options.items() if value is not None and name not in LEFT_OUT]
    given += [name for name, value in LEFT_OUT.items() if options.get(name, value) != value]
    given += [name for name, value in wanted.items() if value != plain[name]]
    given += sources.Preprocessing.of(preprocessing).declared()
    if given:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise DataError(
            f"{told} for saved moments alone",
            "a model to run",
            "Leave out what they can't use, or pass the ONNX files they were measured with.",
        )


def load(path: Path, metrics: Sequence[str] | None) -> Results:
    """The results of saved moments.

    Raises:
        DataError: when they can't be read; the message names the file.
    """
    with prefix_errors(os.fspath(path)):
        try:
            moments, saved = load_record(path)
        except DataError as error:
            raise DataError(error.found, error.needed, f"{error.remedy} Data are given by --data.") from error
        return Results.from_moments(moments, Provenance.from_dict(saved).asking(select(metrics)))


def _read(given: Given, **chosen: Any) -> tuple[models.Model, heads.Head]:
    model = models.read(given)
    rewrite.check_not_instrumented(model)
    with prefix_errors(model.path):
        return model, heads.find(model, **chosen)
