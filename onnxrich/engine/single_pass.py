"""One pass of one model over the data: from a source to the moments of the head, in blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxrich._utils.threads import lane_count
from onnxrich.data.fingerprint import Fingerprint
from onnxrich.data.source import Batch, Source
from onnxrich.engine.accumulation import Accumulation, check_finite
from onnxrich.engine.batch_axis import open_batch_axis
from onnxrich.engine.batches import AdaptedBatches, Batches, pad
from onnxrich.engine.checkpoint import saved_block_count
from onnxrich.engine.layers import HiddenLayers, LayerRequest, with_layers
from onnxrich.engine.memory import fit_blocks, fit_lanes
from onnxrich.engine.prepared import (
    FeedPlan,
    PreparedModel,
    adjust_to_first_batch,
    measure_widths,
    occurring_classes,
    prepare_model,
    target_count,
    verify_head,
)
from onnxrich.engine.proof import BATCH_OF_ONE, prove_rows
from onnxrich.engine.result import PassResult
from onnxrich.engine.runtime import BATCHES_AHEAD, CPU, Device, OutOfMemoryError, RunError
from onnxrich.engine.sizing import (
    MOST_BATCHES,
    choose_batch_size,
    choose_batches_per_product,
    choose_block_count,
    fixed_batch_size,
    moments_width,
)
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.moments.matrix import Moments, merge_all
from onnxrich.progress import PASS, Listener, Progress, Stage, Timing


def measure_one(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    device: Device,
    batch_size: int | None = None,
    blocks: int | None = None,
    mask: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    layers: LayerRequest | None = None,
    memory: int | None = None,
    timing: Timing | None = None,
    listen: Listener = lambda _: None,
) -> PassResult:
    """Run a model over a source and accumulate the moments of its head.

    Args:
        model: the model.
        head: its head.
        source: the rows.
        device: where to run.
        batch_size: samples in a batch; chosen from the size of a sample when left out.
        blocks: number of blocks of moments; chosen from their size when left out, 0 or 1 for a single one.
        mask: input that is 0 for rows to leave out.
        checkpoint: checkpoint file to resume from and to keep up to date.
        layers: hidden layers to measure in the same pass.
        memory: bytes that the work may use; the free memory when left out.
        timing: gets the seconds of each stage.
        listen: gets the progress.

    Raises:
        DataError: when the source is empty, or holds values that the model or the moments can't take.
        HeadError: when the outputs of the head differ from Wφ + b.
        ModelError: when the runtime refuses the model or fails, or memory does not hold the blocks.
    """
    timing = timing or Timing()
    size = choose_batch_size(model, head, source, requested=batch_size, blocks=blocks, memory=device.memory)
    device = _choose_lanes(device, head, source, size=min(size, fixed_batch_size(model) or size), blocks=blocks)
    seconds_before = timing.of(*PASS)
    with Batches(source, size, resumable=checkpoint is not None, timing=timing) as batches:
        with timing.measure(Stage.LOADING):
            prepared = prepare_pass(
                model, head, source, batches=batches, mask=mask, blocks=blocks, device=device, size=size,
                timing=timing, listen=listen,
            )  # fmt: skip
            residual = verify_head(prepared)
            prepared, hidden, count = _add_layers(
                prepared, layers, blocks=blocks, memory=memory, checkpoint=checkpoint, listen=listen
            )
            lane_bytes = prepared.run_bytes + _waiting_bytes(prepared)
            lanes = fit_lanes(prepared.patch, blocks=count, lanes=device.lanes, lane_bytes=lane_bytes, memory=memory)
            prepared = prepared.with_lanes(lanes)
            description = _describe_pass(prepared, source, model=model, batch_size=size, hidden=hidden)
            accumulation = Accumulation(
                prepared, residual=residual or 0.0, blocks=count, description=description, checkpoint=checkpoint
            )
        with accumulation.lanes:
            accumulation.add_all(batches, total=source.n, timing=timing, listen=listen)
        seconds = timing.of(*PASS) - seconds_before
        with timing.measure(Stage.MERGING):
            blocks_of_head = accumulation.drain_head()
            for block in blocks_of_head:
                check_finite(block, batches, prepared)
    result = build_result(
        prepared, blocks_of_head, residual=residual, samples=accumulation.samples, seconds=seconds,
        batch_size=accumulation.largest_batch or prepared.plan.batch_size, fingerprint=batches.fingerprint,
        notices=(*_halved_notices(size, prepared, accumulation), *(hidden.notices if hidden else ())),
    )  # fmt: skip
    layer_moments = None if hidden is None else hidden.read(accumulation.drain_layer)
    return replace(result, resumed=accumulation.resumed, layers=layer_moments)


def build_result(
    prepared: PreparedModel,
    blocks: Sequence[Moments],
    *,
    residual: float | None,
    samples: int,
    batch_size: int,
    seconds: float,
    fingerprint: Fingerprint,
    notices: Sequence[Notice],
) -> PassResult:
    """Build the result of a pass from the moments of its blocks, without hidden layers.

    Raises:
        DataError: when the mask or the labels leave out all rows.
    """
    total = merge_all(blocks)
    if total.n == 0:
        raise DataError(
            f"no row is left of {samples:,} samples: the mask, or labels to ignore or below zero, leave all out",
            "at least one row that counts",
            "Check the mask and the labels.",
        )
    return PassResult(
        head=prepared.head,
        moments=total,
        blocks=tuple(block for block in blocks if block.n) if len(blocks) > 1 else (),
        residual=residual,
        rows_kind=prepared.rows_kind,
        mask=prepared.plan.mask,
        samples=samples,
        batch_size=batch_size,
        batches_per_product=prepared.patch.batches_per_product,
        has_fixed_batch=prepared.plan.is_fixed,
        classes=total.K if prepared.plan.target_kind == "classes" else None,
        providers=prepared.session.providers,
        nodes=prepared.session.count_nodes(),
        seconds=seconds,
        notices=(*prepared.notices, *notices, *_suppressed_notices(prepared)),
        fingerprint=fingerprint.hexdigest(),
        sequence=fingerprint.sequence(),
        prepared=prepared,
    )


def _suppressed_notices(prepared: PreparedModel) -> list[Notice]:
    columns = prepared.suppressed_outputs
    if not columns:
        return []
    named = ", ".join(map(str, columns[:5])) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
    message = (
        f"{len(columns)} of {prepared.head.C} outputs (counted from 0: {named}) are −infinity or too large to be "
        "squared. They are no functions of the data: D_LR and the rank leave them out."
    )
    return [Notice("suppressed_outputs", message)]


def prepare_pass(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    batches: Batches | AdaptedBatches,
    mask: str | None,
    blocks: int | None,
    device: Device,
    size: int,
    timing: Timing,
    listen: Listener,
    most_batches: int = MOST_BATCHES,
) -> PreparedModel:
    """Prepare a model for its batches. The batches are cut smaller where the model or memory requires it.

    Args:
        model: the model.
        head: its head.
        source: the rows.
        batches: the batches of the source, in the form that the model takes.
        mask: input that is 0 for rows to leave out.
        blocks: requested number of blocks of moments.
        device: where to run.
        size: samples in a batch.
        timing: gets the seconds of the proof that rows belong to samples.
        listen: gets the progress.
        most_batches: the most batches whose rows one product adds.

    Raises:
        DataError: when the first batch does not fit the model.
        ModelError: when the runtime refuses the model or fails on the batch.
    """
    listen(Progress("reading the first rows"))
    first, fixed = batches.peek(), fixed_batch_size(model)
    if fixed is not None:
        listen(Progress("checking whether the batch size is open"))
        open_model = open_batch_axis(model, head, first, size=fixed, device=device)
        if open_model is None:
            batches.limit(fixed)
            first, size = batches.peek(), fixed
        else:
            model, fixed = open_model, None
    failure: RunError | None = None
    while True:
        plan = FeedPlan(size, fixed is not None, 0, None, batches_per_product=most_batches)
        try:
            return _prepare(
                model, head, source, first=first, plan=plan, mask=mask, blocks=blocks, device=device, timing=timing,
                listen=listen,
            )  # fmt: skip
        except OutOfMemoryError:
            if fixed or first.rows == 1:
                raise
            size = first.rows // 2
            listen(Progress(f"out of memory: trying batches of {size}"))
        except RunError as error:
            # A model can hold a batch size of 1 inside, though its inputs leave it open.
            if failure or fixed or first.rows == 1:
                raise failure or error from error
            failure, size = error, 1
            listen(Progress("the model fails on a batch: trying one sample"))
        batches.limit(size)
        first = batches.peek()


def _prepare(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    first: Batch,
    plan: FeedPlan,
    mask: str | None,
    blocks: int | None,
    device: Device,
    timing: Timing,
    listen: Listener,
) -> PreparedModel:
    """Prepare a model for its first batch; the plan lacks the targets, and holds the most batches per product."""
    if isinstance(head, UnmeasuredHead):
        listen(Progress("measuring the chosen tensors"))
        padded = pad(first, plan.batch_size) if plan.is_fixed else first
        head = measure_widths(model, head, padded, device=device)
    K, kind = target_count(head, source, first)
    listen(Progress(f"loading the model on {device.name}"))
    classes = occurring_classes(source, K) if kind == "classes" else None
    d = 1 + head.p + (0 if head.derives_outputs else head.C) + (K if classes is None else len(classes))
    joined = choose_batches_per_product(plan.batch_size, d, n=source.n, blocks=blocks)
    joined = min(joined, plan.batches_per_product)
    ignores_labels = source.ignores_labels and kind == "classes"
    plan = replace(
        plan, K=K, classes=classes, target_kind=kind, ignores_labels=ignores_labels, batches_per_product=joined
    )
    prepared = prepare_model(model, head, first, plan=plan, device=device, listen=listen)
    listen(Progress(Stage.PROVING))
    with timing.measure(Stage.PROVING):
        proof = prove_rows(prepared, is_all=source.n is not None and source.n <= first.rows)
    return adjust_to_first_batch(
        prepared, source, layouts=proof.layouts, built_in_size=proof.built_in_size, mask=mask, notices=proof.notices
    )


def _add_layers(
    prepared: PreparedModel,
    request: LayerRequest | None,
    *,
    blocks: int | None,
    memory: int | None,
    checkpoint: str | os.PathLike[str] | None,
    listen: Listener,
) -> tuple[PreparedModel, HiddenLayers | None, int]:
    """Add the requested layers. Return the new model, its layers, and the number of blocks that memory holds."""
    if request is None:
        # Any number of blocks may be requested; a chosen number takes at most 1 GiB, except a single one.
        count = choose_block_count(prepared.patch.edges[-1], blocks)
        if blocks or count == 1:
            fit_blocks(prepared.patch, (), blocks=count, memory=memory)
        return prepared, None, count
    listen(Progress("measuring the layers"))
    if blocks is None and checkpoint is not None:
        # Memory may now hold another number of blocks than when the checkpoint was begun.
        blocks = saved_block_count(Path(checkpoint))
    prepared, hidden = with_layers(prepared, request, blocks=blocks, memory=memory)
    return prepared, hidden, hidden.blocks


def _describe_pass(
    prepared: PreparedModel, source: Source, *, model: Model, batch_size: int, hidden: HiddenLayers | None
) -> dict[str, Any]:
    """What identifies a pass. The keys stand in checkpoint files."""
    return {
        "model": model.sha256,
        "features": prepared.head.features.tensor,
        "outputs": prepared.head.outputs.tensor,
        "source": source.name,
        "rows": source.choice,
        "preprocessing": source.preprocessing,
        "device": prepared.session.device.name,
        "batch size": batch_size,
        "layers": None if hidden is None else hidden.descriptions,
    }


def _choose_lanes(
    device: Device, head: Head | UnmeasuredHead, source: Source, *, size: int, blocks: int | None
) -> Device:
    """The device with as many lanes as the rows allow; providers with their own threads get one lane."""
    if device.provider != CPU:
        return device
    d, runs = moments_width(head, source), None
    if source.n is not None:
        runs = source.n // (size * choose_batches_per_product(size, d, n=source.n, blocks=blocks))
    return replace(device, lanes=lane_count(runs, choose_block_count(d, blocks)))


def _waiting_bytes(prepared: PreparedModel) -> int:
    """Bytes of the batches that a lane runs and that wait for it."""
    batch_bytes = sum(array.nbytes for array in prepared.first.inputs.values())
    return (BATCHES_AHEAD + 1) * prepared.patch.batches_per_product * batch_bytes


def _halved_notices(size: int, prepared: PreparedModel, accumulation: Accumulation) -> tuple[Notice, ...]:
    fitting = accumulation.largest_batch or prepared.plan.batch_size
    runs_alone = any(notice.code == BATCH_OF_ONE for notice in prepared.notices)
    if prepared.plan.is_fixed or runs_alone or fitting >= size:
        return ()
    message = f"Memory did not hold batches of {size}: they were run in parts of {fitting} or fewer."
    return (Notice("batch_halved", f"{message} Pass --batch-size {fitting} next time."),)
