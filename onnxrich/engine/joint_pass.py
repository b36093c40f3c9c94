"""One pass of several models over the same batches: the moments of each, and the products of their features."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnxrich.data.shared import adapt_batch, match_inputs
from onnxrich.data.source import Batch, Source
from onnxrich.engine import prepared as lives
from onnxrich.engine.accumulation import Accumulation, check_finite
from onnxrich.engine.batches import Batches, Fitted
from onnxrich.engine.memory import fit_blocks
from onnxrich.engine.monitor import TELL_SECONDS
from onnxrich.engine.prepared import PreparedModel, build_feed, pilot_shift, row_weights, rows_per_sample
from onnxrich.engine.result import JointResult, Pair
from onnxrich.engine.runtime import Accumulator, Choice, CrossProducts, DeviceTensor
from onnxrich.engine.single_pass import pass_result, prepare_pass
from onnxrich.engine.sizing import BLOCK_BYTES, batch_size, block_count
from onnxrich.errors import DeviceError, Notice, prefix_errors
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head
from onnxrich.model.patch.cross_products import cross_product_model
from onnxrich.moments.matrix import Array, Moments
from onnxrich.progress import PASS, Listener, Progress, Timing


@dataclass(frozen=True, eq=False)
class _Member:
    """One of the models: ready to run, with its sums."""

    live: PreparedModel
    first: Batch
    batches: Fitted
    summing: Accumulation
    residual: float | None

    @property
    def kind(self) -> tuple[object, ...]:
        """What has to agree where rows of two models are to correspond."""
        return rows_per_sample(self.live, self.first), self.live.plan.mask, self.live.plan.by_row

    def add(self, batch: Batch, block: int) -> tuple[DeviceTensor, Array]:
        """Add a batch to the model's sums: its features, where they are, and what each row counts."""
        plan, patch = self.live.plan, self.live.patch
        kept: list[DeviceTensor] = []

        def step(accumulator: Accumulator, block: int) -> None:
            kept.extend(accumulator.add([build_feed(patch, plan, batch)], block, keep=(patch.features,)))

        self.summing.fleet.add(step, block)
        return kept[0], row_weights(plan, batch, rows_per_sample(self.live, self.first))


def measure_jointly(
    models: Sequence[tuple[Model, Head]],
    source: Source,
    leader: Model,
    *,
    device: Choice,
    batch: int | None = None,
    blocks: int | None = None,
    mask: str | None = None,
    timing: Timing | None = None,
    listen: Listener = lambda _: None,
) -> JointResult:
    """Run several models over one source, which is read once.

    Memory: all models at once, and for G blocks 8·(G + 1)·(Σ d² + Σ pᵃ·pᵇ) bytes of sums.

    Args:
        models: the models with their heads.
        source: the rows, as the leader takes them.
        leader: one of the models.
        device: where to run.
        batch: samples a run; chosen from the size of a row when left out.
        blocks: number of blocks of moments; chosen from their size when left out, 0 or 1 for a single one.
        mask: input that is 0 for rows to be left out.
        timing: gets the seconds of each stage.
        listen: hears of the progress.

    Raises:
        OnnxrichError: as in `stream.run`; the message names the model.
    """
    if len(device.numbers) > 1:
        raise DeviceError(f"{len(device.numbers)} devices to compare on", "one", "Pass --device cuda:N.")
    timing = timing or Timing()
    size = min(
        batch_size(model, head, source, asked=batch, blocks=blocks, memory=device.memory) for model, head in models
    )
    before = timing.of(*PASS)
    with Batches(source, size, timing=timing) as batches:
        with timing.measure("loading and checking the model"):
            G = _block_count([head for _, head in models], blocks)
            ready = partial(_member, source, batches, leader, mask=mask, device=device, size=size, blocks=G)
            members = [ready(model, head, listen=listen) for model, head in models]
            products, notices = _products(members, G, device)
        start, samples = time.perf_counter(), 0
        told = start
        for number, each in enumerate(batches):
            with timing.measure("running"):
                _add(members, products, each, number % G)
            samples += each.rows
            if (now := time.perf_counter()) - told > TELL_SECONDS:
                told = now
                waiting = timing.share("reading", "running")
                listen(Progress("running", samples, source.n, samples / (now - start), None, waiting))
        seconds = timing.of(*PASS) - before
        with timing.measure("merging"):
            size = min(member.live.plan.size for member in members)
            parts = [_parts(member, batches) for member in members]
            passes = [
                pass_result(
                    member.live, member.first, part, residual=member.residual, samples=samples, batch_size=size,
                    seconds=seconds, fingerprint=batches.fingerprint, notices=(),
                )
                for member, part in zip(members, parts, strict=True)
            ]  # fmt: skip
    memory = sum(8 * (G + 1) * math.prod(shape) for member in members for shape in member.live.patch.shapes)
    memory += products.memory if products else 0
    return JointResult(tuple(passes), _read(parts, products), memory, tuple(notices))


def _block_count(heads: Sequence[Head], asked: int | None) -> int:
    """The number of blocks, for which all moments together are what those of one model may be."""
    widths = [(head.p or 0, 1 + (head.p or 0) + 2 * (head.C or 0)) for head in heads]
    entries = sum(d * d for _, d in widths)
    return block_count(math.ceil(math.sqrt(entries)), asked)


def _member(
    source: Source,
    batches: Batches,
    leader: Model,
    model: Model,
    head: Head,
    *,
    mask: str | None,
    device: Choice,
    size: int,
    blocks: int,
    listen: Listener,
) -> _Member:
    with prefix_errors(model.path):
        fit = Fitted(batches, partial(adapt_batch, model=model, names=match_inputs(model, leader)))
        live, first = prepare_pass(
            model, head, source, fit, mask=mask, device=device, size=size, listen=listen, blocks=blocks, most_runs=1
        )
        distance = lives.verify_head(live)
        fit_blocks(live.patch, (), blocks=blocks, memory=None)
        return _Member(live, first, fit, Accumulation(live, first, residual=distance or 0.0, blocks=blocks), distance)


def _products(members: Sequence[_Member], G: int, device: Choice) -> tuple[CrossProducts | None, list[Notice]]:
    """What sums the products of the pairs whose rows correspond; for as many blocks as memory allows."""
    every = [(a, b) for b in range(len(members)) for a in range(b)]
    pairs = [(a, b) for a, b in every if members[a].kind == members[b].kind]
    notices = []
    if len(pairs) < len(every):
        message = "Some models have other rows (tokens or positions) than others: there is no CKA between these."
        notices.append(Notice("rows_differ", message))
    if not pairs:
        return None, notices
    size = [member.live.features.shape[1] for member in members]
    room = BLOCK_BYTES // (8 * sum(size[a] * size[b] for a, b in pairs))
    if 1 < G > room:
        notices.append(Notice("cka_without_errors", "Products of so many features are kept once: CKA has no errors."))
    shifts = [pilot_shift(each.live, each.first)[1 : 1 + p] for each, p in zip(members, size, strict=True)]
    made = cross_product_model([member.live.patch.parts[1] for member in members], pairs)
    return CrossProducts(made, np.concatenate(shifts), blocks=G if room >= G else 1, device=device), notices


def _read(parts: Sequence[Sequence[Moments]], products: CrossProducts | None) -> dict[Pair, tuple[Array, ...]]:
    """The products of each pair, for the blocks that hold rows."""
    if products is None:
        return {}
    found = [[sums.copy() for sums in products.read(block)] for block in range(products.blocks)]
    if products.blocks == 1:
        return {pair: (found[0][j],) for j, pair in enumerate(products.pairs)}
    return {
        pair: tuple(sums[j] for sums, part in zip(found, parts[pair[0]], strict=True) if part.n)
        for j, pair in enumerate(products.pairs)
    }


def _add(members: Sequence[_Member], products: CrossProducts | None, batch: Batch, block: int) -> None:
    rows = []
    for member in members:
        with prefix_errors(member.live.model.path):
            rows.append(member.add(member.batches.fit(batch), block))
    if products is not None:
        products.add([held for held, _ in rows], [weights for _, weights in rows], block % products.blocks)


def _parts(member: _Member, batches: Batches) -> list[Moments]:
    """The moments of each block, which are finite."""
    with prefix_errors(member.live.model.path):
        parts = member.summing.blocks()
        for part in parts:
            check_finite(part, batches)
    return parts
