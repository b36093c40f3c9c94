"""One pass over the data: from a model and a source to the moments of its head, in blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxrich._utils.threads import lane_count
from onnxrich.data.fingerprint import Fingerprint
from onnxrich.data.source import Batch, Source
from onnxrich.engine import checkpoint
from onnxrich.engine import prepared as lives
from onnxrich.engine.accumulation import Accumulation, check_finite
from onnxrich.engine.batch_axis import open_batch_axis
from onnxrich.engine.batches import Batches, Fitted, padded
from onnxrich.engine.layers import LayerRequest, with_layers
from onnxrich.engine.memory import fit_blocks, fit_lanes
from onnxrich.engine.prepared import FeedPlan, PreparedModel
from onnxrich.engine.result import PassResult
from onnxrich.engine.runtime import AHEAD, CPU, Choice, OutOfMemoryError
from onnxrich.engine.sizing import MOST_RUNS, batch_size, batches_per_product, block_count, fixed_size
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.moments.matrix import Moments, merge_all
from onnxrich.progress import PASS, Listener, Progress, Timing


def measure_one(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    device: Choice,
    batch: int | None = None,
    blocks: int | None = None,
    mask: str | None = None,
    saved: str | os.PathLike[str] | None = None,
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
        batch: samples a run; chosen from the size of a row when left out.
        blocks: number of blocks of moments; chosen from their size when left out, 0 or 1 for a single one.
        mask: input that is 0 for rows to be left out.
        saved: checkpoint file, from which to go on, and which is kept up to date.
        layers: hidden layers to measure in the same pass.
        memory: bytes that the work may use, None for what the machine has.
        timing: gets the seconds of each stage.
        listen: hears of the progress.

    Raises:
        DataError: when the source is empty or holds what the model or the moments can't take.
        HeadError: when the head is not what its constants say.
        ModelError: when the runtime refuses the model or fails, or there is no memory for so many blocks.
    """
    timing = timing or Timing()
    size = batch_size(model, head, source, asked=batch, blocks=blocks, memory=device.memory)
    device = _in_lanes(device, head, source, min(size, fixed_size(model) or size), blocks)
    before = timing.of(*PASS)
    with Batches(source, size, marked=saved is not None, timing=timing) as batches:
        with timing.measure("loading and checking the model"):
            live, first = prepare_pass(
                model, head, source, batches, mask=mask, blocks=blocks, device=device, size=size, listen=listen
            )
            distance = lives.verify_head(live)
            depth, count = None, block_count(live.patch.edges[-1], blocks)
            if layers is not None:
                listen(Progress("measuring the layers"))
                # How many blocks there is memory for may differ from when the checkpoint was begun.
                kept = checkpoint.saved_block_count(Path(saved)) if blocks is None and saved is not None else blocks
                live, depth = with_layers(live, first, replace(layers, blocks=kept))
                count = depth.blocks
            elif blocks:
                # As many as were asked for may be any number; those that are chosen take 1 GiB at most.
                fit_blocks(live.patch, (), blocks=blocks, memory=memory)
            taken = live.taken + _waiting(live, first)
            live = live.in_lanes(fit_lanes(live.patch, blocks=count, lanes=device.lanes, taken=taken, memory=memory))
            about = {
                "model": model.sha256, "features": live.head.features.tensor, "outputs": live.head.outputs.tensor,
                "source": source.name, "rows": source.choice, "preprocessing": source.preprocessing,
                "device": device.device, "batch size": size,
                "layers": None if depth is None else [hidden.site.tensor for hidden in depth.hidden],
            }  # fmt: skip
            summing = Accumulation(live, first, residual=distance or 0.0, blocks=count, about=about, saved=saved)
        with summing.fleet:
            summing.run(batches, total=source.n, timing=timing, listen=listen)
        seconds = timing.of(*PASS) - before
        with timing.measure("merging"):
            parts = summing.blocks()
            for part in parts:
                check_finite(part, batches)
        made = pass_result(
            live, first, parts, residual=distance, samples=summing.samples, seconds=seconds,
            batch_size=summing.most or live.plan.size, fingerprint=batches.fingerprint,
            notices=_notices(size, live, summing),
        )  # fmt: skip
        made = replace(made, resumed=summing.resumed)
        if depth is None:
            return made
        listen(Progress("computing the layers"))
        with timing.measure("computing the layers"):
            samples = made.rows_kind == "sample"
            profile = depth.profile(live.head, summing.layer, made.moments, made.blocks, samples=samples)
    return replace(made, layers=profile.layers, notices=(*made.notices, *profile.notices))


def pass_result(
    live: PreparedModel,
    first: Batch,
    parts: Sequence[Moments],
    *,
    residual: float | None,
    samples: int,
    batch_size: int,
    seconds: float,
    fingerprint: Fingerprint,
    notices: Sequence[Notice],
) -> PassResult:
    """What a pass gave, from the moments of its blocks; nothing of hidden layers.

    Raises:
        DataError: when the mask or the labels leave no row.
    """
    total = merge_all(parts)
    if total.n == 0:
        raise DataError(
            f"no row is left of {samples:,} samples: the mask, or labels below zero, leave all of them out",
            "at least one row that counts",
            "Check the mask and the labels.",
        )
    return PassResult(
        head=live.head,
        moments=total,
        blocks=tuple(part for part in parts if part.n) if len(parts) > 1 else (),
        residual=residual,
        rows_kind=lives.rows_kind(live, first),
        mask=live.plan.mask,
        samples=samples,
        batch_size=batch_size,
        runs=live.patch.batches_per_product,
        fixed=live.plan.fixed,
        classes=total.K if live.plan.targets == "classes" else None,
        providers=live.session.providers,
        nodes=live.session.nodes(),
        seconds=seconds,
        notices=tuple(notices),
        layers=(),
        fingerprint=fingerprint.hexdigest(),
        sequence=fingerprint.sequence(),
        live=live,
    )


def _in_lanes(device: Choice, head: Head | UnmeasuredHead, source: Source, size: int, blocks: int | None) -> Choice:
    """The device with as many runs at once as the rows suggest; providers with threads of their own take one."""
    if device.provider != CPU:
        return device
    p, C = head.known_widths
    d = 1 + p + 2 * C
    runs = None if source.n is None else source.n // (size * batches_per_product(size, d, n=source.n, blocks=blocks))
    return replace(device, lanes=lane_count(runs, block_count(d, blocks)))


def _waiting(live: PreparedModel, first: Batch) -> int:
    """Bytes of the batches that a lane runs and that wait for it."""
    return (AHEAD + 1) * live.patch.batches_per_product * sum(array.nbytes for array in first.inputs.values())


def _notices(size: int, live: PreparedModel, summing: Accumulation) -> tuple[Notice, ...]:
    fits = summing.most or live.plan.size
    if live.plan.fixed or fits >= size:
        return ()
    message = f"Memory did not hold batches of {size}: they were run in parts of {fits} or fewer."
    return (Notice("batch_halved", f"{message} Pass --batch-size {fits} next time."),)


def prepare_pass(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    batches: Batches | Fitted,
    *,
    mask: str | None,
    blocks: int | None,
    device: Choice,
    size: int,
    listen: Listener,
    most_runs: int = MOST_RUNS,
) -> tuple[PreparedModel, Batch]:
    """A model that is ready for these batches, which are cut smaller where the model or memory asks for it.

    At most so many runs are added by one product of their rows.

    Raises:
        DataError: when the first batch is not what the model takes.
        ModelError: when the runtime refuses the model or fails on the batch.
    """
    listen(Progress("reading the first rows"))
    first, fixed = batches.peek(), fixed_size(model)
    if fixed is not None:
        listen(Progress("looking whether the batch size is open"))
        free = open_batch_axis(model, head, first, fixed, device)
        if free is None:
            batches.cut(fixed)
            first, size = batches.peek(), fixed
        else:
            model, fixed = free, None
    try:
        if isinstance(head, UnmeasuredHead):
            listen(Progress("measuring the chosen tensors"))
            head = lives.measure_widths(model, head, padded(first, size) if fixed else first, device)
        K, kind = lives.target_count(head, source, first)
        listen(Progress(f"loading the model on {device.device}"))
        runs = batches_per_product(size, 1 + head.p + head.C + K, n=source.n, blocks=blocks)
        plan = FeedPlan(size, fixed is not None, K, kind, runs=min(runs, most_runs))
        live = lives.prepare_model(model, head, plan, first, device, listen=listen)
        return lives.adjust_to_first_batch(live, source, first, mask=mask, device=device), first
    except OutOfMemoryError:
        if fixed or first.rows == 1:
            raise
    batches.cut(first.rows // 2)
    listen(Progress(f"out of memory: trying batches of {first.rows // 2}"))
    size = first.rows // 2
    return prepare_pass(
        model, head, source, batches, mask=mask, blocks=blocks, device=device, size=size, listen=listen,
        most_runs=most_runs,
    )  # fmt: skip
