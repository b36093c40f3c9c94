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
from onnxrich.engine.accumulation import Accumulation, check_finite
from onnxrich.engine.batches import AdaptedBatches, Batches
from onnxrich.engine.memory import fit_blocks
from onnxrich.engine.monitor import REPORT_SECONDS
from onnxrich.engine.prepared import PreparedModel, build_feed, row_weights, verify_head
from onnxrich.engine.result import JointResult, Pair
from onnxrich.engine.runtime import Accumulator, CrossProducts, Device, DeviceTensor
from onnxrich.engine.single_pass import build_result, prepare_pass
from onnxrich.engine.sizing import BLOCK_BYTES, choose_batch_size, choose_block_count, moments_width
from onnxrich.errors import DeviceError, Notice, prefix_errors
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.model.patch.cross_products import build_cross_product_model
from onnxrich.moments.matrix import Array, Moments
from onnxrich.progress import PASS, Listener, Progress, Stage, Timing


@dataclass(frozen=True, eq=False)
class _Member:
    """One of the models with its sums."""

    prepared: PreparedModel
    batches: AdaptedBatches
    accumulation: Accumulation
    residual: float | None

    @property
    def rows_layout(self) -> tuple[object, ...]:
        """What must agree where the rows of two models correspond."""
        plan = self.prepared.plan
        return self.prepared.rows_per_sample, plan.mask, plan.by_row

    def add(self, batch: Batch, block: int) -> tuple[DeviceTensor, Array]:
        """Add a batch to the model's sums. Return its features, on the device, and the weight of each row."""
        plan, patch = self.prepared.plan, self.prepared.patch
        features: list[DeviceTensor] = []

        def work(accumulator: Accumulator, block: int) -> None:
            features.extend(accumulator.add([build_feed(patch, plan, batch)], block, keep=(patch.features,)))

        self.accumulation.lanes.add(work, block)
        # Tokens may be more or fewer than in the first batch.
        rows_per_sample = features[0].shape()[0] // (plan.batch_size if plan.is_fixed else batch.rows)
        return features[0], row_weights(plan, batch, rows_per_sample)


def measure_jointly(
    models: Sequence[tuple[Model, Head | UnmeasuredHead]],
    source: Source,
    leader: Model,
    *,
    device: Device,
    batch_size: int | None = None,
    blocks: int | None = None,
    mask: str | None = None,
    timing: Timing | None = None,
    listen: Listener = lambda _: None,
) -> JointResult:
    """Run several models over one source that is read once.

    Memory: all models at once, and for G blocks 8·(G + 1)·(Σ d² + Σ pᵃ·pᵇ) bytes of sums.

    Args:
        models: the models with their heads.
        source: the rows, in the form that the leader takes.
        leader: one of the models.
        device: where to run.
        batch_size: samples in a batch; chosen from the size of a sample when left out.
        blocks: number of blocks of moments; chosen from their size when left out, 0 or 1 for a single one.
        mask: input that is 0 for rows to leave out.
        timing: gets the seconds of each stage.
        listen: gets the progress.

    Raises:
        DeviceError: when the device has several numbers.
        OnnxrichError: as in `measure_one`; the message names the model.
    """
    if len(device.numbers) > 1:
        raise DeviceError(
            f"models are compared on one device, and {len(device.numbers)} devices are given",
            "one device",
            "Pass --device cuda:N.",
        )
    timing = timing or Timing()
    size = min(
        choose_batch_size(model, head, source, requested=batch_size, blocks=blocks, memory=device.memory)
        for model, head in models
    )
    seconds_before = timing.of(*PASS)
    with Batches(source, size, timing=timing) as batches:
        with timing.measure(Stage.LOADING):
            G = _joint_block_count([head for _, head in models], blocks)
            prepare_member = partial(
                _prepare_member, source=source, batches=batches, leader=leader, mask=mask, device=device, size=size,
                blocks=G, timing=timing, listen=listen,
            )  # fmt: skip
            members = [prepare_member(model, head) for model, head in models]
            products, notices = _prepare_products(members, G, device)
        samples = _add_all(members, products, batches, blocks=G, total=source.n, timing=timing, listen=listen)
        seconds = timing.of(*PASS) - seconds_before
        with timing.measure(Stage.MERGING):
            size = min(member.prepared.plan.batch_size for member in members)
            moments = [_drain_finite(member, batches) for member in members]
            passes = [
                build_result(
                    member.prepared, member_moments, residual=member.residual, samples=samples, batch_size=size,
                    seconds=seconds, fingerprint=batches.fingerprint, notices=(),
                )
                for member, member_moments in zip(members, moments, strict=True)
            ]  # fmt: skip
    memory = sum(8 * (G + 1) * math.prod(shape) for member in members for shape in member.prepared.patch.shapes)
    memory += products.memory if products else 0
    return JointResult(tuple(passes), _read_products(moments, products), memory, tuple(notices))


def _joint_block_count(heads: Sequence[Head | UnmeasuredHead], requested: int | None) -> int:
    """The number of blocks for which the moments of all models together take as much as those of one may."""
    entries = sum(moments_width(head) ** 2 for head in heads)
    return choose_block_count(math.ceil(math.sqrt(entries)), requested)


def _prepare_member(
    model: Model,
    head: Head | UnmeasuredHead,
    *,
    source: Source,
    batches: Batches,
    leader: Model,
    mask: str | None,
    device: Device,
    size: int,
    blocks: int,
    timing: Timing,
    listen: Listener,
) -> _Member:
    with prefix_errors(model.path):
        adapted = AdaptedBatches(batches, partial(adapt_batch, model=model, names=match_inputs(model, leader)))
        prepared = prepare_pass(
            model, head, source, batches=adapted, mask=mask, blocks=blocks, device=device, size=size,
            timing=timing, listen=listen, most_batches=1,
        )  # fmt: skip
        residual = verify_head(prepared)
        fit_blocks(prepared.patch, (), blocks=blocks, memory=None)
        accumulation = Accumulation(prepared, residual=residual or 0.0, blocks=blocks)
        return _Member(prepared, adapted, accumulation, residual)


def _prepare_products(members: Sequence[_Member], G: int, device: Device) -> tuple[CrossProducts | None, list[Notice]]:
    """The sums of products of all pairs whose rows correspond, in one block where memory does not allow G."""
    all_pairs = [(a, b) for b in range(len(members)) for a in range(b)]
    pairs = [(a, b) for a, b in all_pairs if members[a].rows_layout == members[b].rows_layout]
    notices = []
    if len(pairs) < len(all_pairs):
        message = "Some models have other rows (tokens or positions) than others: there is no CKA between these."
        notices.append(Notice("rows_differ", message))
    if not pairs:
        return None, notices
    widths = [member.prepared.features.shape[1] for member in members]
    most_blocks = BLOCK_BYTES // (8 * sum(widths[a] * widths[b] for a, b in pairs))
    if 1 < G > most_blocks:
        message = "Products of so many features are kept in one block, so CKA has no errors."
        notices.append(Notice("cka_without_errors", message))
    shifts = [member.prepared.pilot_shift()[1 : 1 + p] for member, p in zip(members, widths, strict=True)]
    model = build_cross_product_model([member.prepared.patch.parts[1] for member in members], pairs)
    blocks = G if most_blocks >= G else 1
    return CrossProducts(model, np.concatenate(shifts), blocks=blocks, device=device), notices


def _add_all(
    members: Sequence[_Member],
    products: CrossProducts | None,
    batches: Batches,
    *,
    blocks: int,
    total: int | None,
    timing: Timing,
    listen: Listener,
) -> int:
    """Add all batches to the sums of all models. Return the number of samples."""
    start, samples = time.perf_counter(), 0
    last_report = start
    for number, batch in enumerate(batches):
        with timing.measure(Stage.RUNNING):
            _add(members, products, batch, block=number % blocks)
        samples += batch.rows
        if (now := time.perf_counter()) - last_report > REPORT_SECONDS:
            last_report = now
            waiting = timing.share(Stage.READING, Stage.RUNNING)
            listen(Progress(Stage.RUNNING, samples, total, samples / (now - start), None, waiting))
    return samples


def _add(members: Sequence[_Member], products: CrossProducts | None, batch: Batch, *, block: int) -> None:
    features, weights = list[DeviceTensor](), list[Array]()
    for member in members:
        with prefix_errors(member.prepared.model.path):
            member_features, member_weights = member.add(member.batches.adapt(batch), block)
        features.append(member_features)
        weights.append(member_weights)
    if products is not None:
        products.add(features, weights, block % products.blocks)


def _drain_finite(member: _Member, batches: Batches) -> list[Moments]:
    """The moments of each block of a model.

    Raises:
        DataError: when they are not finite.
    """
    with prefix_errors(member.prepared.model.path):
        blocks = member.accumulation.drain_head()
        for block in blocks:
            check_finite(block, batches, member.prepared)
    return blocks


def _read_products(
    moments: Sequence[Sequence[Moments]], products: CrossProducts | None
) -> dict[Pair, tuple[Array, ...]]:
    """The products of each pair, for the blocks that hold rows.

    Args:
        moments: moments of each model in each block.
        products: the sums of products.
    """
    if products is None:
        return {}
    sums = [[array.copy() for array in products.read(block)] for block in range(products.blocks)]
    if products.blocks == 1:
        return {pair: (sums[0][j],) for j, pair in enumerate(products.pairs)}
    return {
        pair: tuple(arrays[j] for arrays, block in zip(sums, moments[pair[0]], strict=True) if block.n)
        for j, pair in enumerate(products.pairs)
    }
