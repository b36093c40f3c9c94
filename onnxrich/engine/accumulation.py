"""Batches added to blocks of moments, in one lane or several, with checkpoints, and halved when memory runs out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.source import Batch
from onnxrich.engine.batches import Batches, group, split
from onnxrich.engine.checkpoint import CheckpointState, CheckpointWriter, damaged
from onnxrich.engine.monitor import Monitor
from onnxrich.engine.prepared import PreparedModel
from onnxrich.engine.runtime import Accumulator, LanePool, OutOfMemoryError
from onnxrich.engine.sizing import choose_block_count
from onnxrich.errors import DataError, ModelError
from onnxrich.metrics.base import Sample
from onnxrich.metrics.magnitude import check_magnitude
from onnxrich.metrics.richness import compute_richness
from onnxrich.model.graph import Graph
from onnxrich.model.head.head import allowed_residual
from onnxrich.model.not_finite import explain_not_finite
from onnxrich.moments.invariants import find_violation
from onnxrich.moments.matrix import Array, BlockName, Moments
from onnxrich.progress import Listener, Stage, Timing


class Accumulation:
    """Adds group b of the batches to block b mod G. One product adds the rows of a group.

    Args:
        prepared: the model.
        residual: relative residual of the head's check.
        blocks: number of blocks of moments; chosen from their size when left out.
        description: what identifies the pass in its checkpoint, beside the way its model is run.
        checkpoint: checkpoint file to resume from and to keep up to date.

    Attributes:
        lanes: the lanes with their blocks; a context manager to enter while batches are added.
        samples: number of samples that were added.
        resumed: those of them that the checkpoint held.
        largest_batch: samples that fit into the memory of a lane at once; None as long as whole batches fit.
    """

    def __init__(
        self,
        prepared: PreparedModel,
        *,
        residual: float,
        blocks: int | None,
        description: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        shift, device = prepared.pilot_shift(), prepared.session.device
        others = [prepared.open_session_on(index) for index in range(1, len(device.numbers))]
        sessions = [prepared.session, *others]
        G = max(choose_block_count(prepared.patch.edges[-1], blocks), len(sessions))
        self._writer = CheckpointWriter(
            None if checkpoint is None else Path(checkpoint),
            {**(description or {}), **_describe_run(prepared, G)},
            shapes=[prepared.patch.shapes] * G,
            shifts=[shift, *prepared.layer_shifts.values()],
            tolerance=allowed_residual(prepared.head),
        )
        # Resumed sums keep the shifts that they began with.
        self._shift, *layer_shifts = self._writer.start.shifts
        names = prepared.layer_shifts
        self._prepared = replace(prepared, layer_shifts=dict(zip(names, layer_shifts, strict=True)))
        patch = prepared.patch
        self.lanes = LanePool(sessions * device.lanes, patch, patch.summed_entries(self._shift), blocks=G)
        self.lanes.restore(self._writer.start.sums)
        self.samples = self.resumed = 0
        self.largest_batch: int | None = None
        affine, plan = prepared.head.affine, prepared.plan
        empty = Moments.empty(
            prepared.features.shape[1], prepared.outputs.shape[1], plan.K, targets=plan.target_kind,
            dtype=affine.dtype if affine else "float32", residual=residual, weight=patch.weight,
            classes=None if plan.classes is None else np.array(plan.classes),
        )  # fmt: skip
        self._empty = replace(empty, shift=self._shift)
        if patch.weight is not None:  # one W for all blocks
            self._empty = self._empty.without_outputs(prepared.suppressed_outputs)
        if checkpoint is not None:
            self._check_resumed(Path(checkpoint))

    def drain_head(self) -> list[Moments]:
        """The moments of each block, at the end. Their sums are released."""
        return [self._to_moments(sums) for sums in self.lanes.drain(self._prepared.patch.accumulator_slices[-1])]

    def drain_layer(self, index: int) -> list[Moments]:
        """The moments of a hidden layer in each block, at the end. Their sums are released."""
        patch = self._prepared.patch.layers[index]
        empty = replace(
            self._empty,
            matrix=np.zeros((patch.edges[-1], patch.edges[-1])),
            shift=self._prepared.layer_shifts[patch.shift][0],
            p=patch.edges[-1] - len(self._shift) + self._empty.p,
            weight=None,
        )
        span = self._prepared.patch.accumulator_slices[index]
        suppressed = self._prepared.suppressed_outputs
        blocks = (replace(empty, matrix=patch.matrix(sums)) for sums in self.lanes.drain(span))
        return [block.without_outputs(suppressed) for block in blocks]

    def add_all(self, batches: Batches, *, total: int | None, timing: Timing, listen: Listener) -> None:
        """Add all batches.

        Args:
            batches: the batches, from the first one on.
            total: number of samples, None for a stream.
            timing: gets the seconds of reading, running, monitoring and saving.
            listen: gets the progress.

        Raises:
            DataError: when a value is not finite, or the data differ from those of the checkpoint.
            ModelError: when the runtime fails.
        """
        patch = self._prepared.patch
        monitor = Monitor(
            self.lanes, patch.accumulator_slices[-1], numbers=self.lanes.blocks * patch.edges[-1] ** 2,
            d_lr=partial(self._running_d_lr, batches), total=total, timing=timing, listen=listen,
        )  # fmt: skip
        with self._writer as writer:
            count = 0
            for count, batch_group in enumerate(group(batches, patch.batches_per_product), start=1):
                self.samples += sum(batch.rows for batch in batch_group)
                if count <= writer.start.batches:
                    self.resumed = self.samples
                    writer.check_data(count, self.samples, batches)
                    monitor.report_skipped(self.samples)
                    continue
                with timing.measure(Stage.RUNNING):
                    self.lanes.add(partial(self._add, batch_group), (count - 1) % self.lanes.blocks)
                monitor.report(self.samples, resumed=self.resumed)
                # Not inside a batch that was split for the model: its rows have no fingerprint there.
                if writer.is_due() and batches.ends_at(self.samples):
                    self._save(count, batches, timing)
            with timing.measure(Stage.RUNNING):
                self.lanes.wait()
            writer.check_data(count, self.samples, batches, ended=True)
            if writer.needs_last(count):
                self._save(count, batches, timing)
                with timing.measure(Stage.SAVING):
                    writer.wait()

    def _add(self, batch_group: Sequence[Batch], accumulator: Accumulator, block: int) -> None:
        """Add batches by as few products as possible; halve batches that memory does not hold."""
        plan, limit = self._prepared.plan, self.largest_batch
        pieces = batch_group if limit is None else [piece for batch in batch_group for piece in split(batch, limit)]
        for joined in group(pieces, self._prepared.patch.batches_per_product):
            if self.largest_batch != limit:  # memory ran out meanwhile
                self._add(joined, accumulator, block)
                continue
            try:
                accumulator.add([self._prepared.feed(batch) for batch in joined], block)
                continue
            except OutOfMemoryError:
                largest = max(batch.rows for batch in joined)
                if largest == 1 or plan.is_fixed:
                    raise
            # Outside the handler, where the exception would still hold the memory of the failed run. Another lane may
            # have found a lower limit meanwhile.
            self.largest_batch = min(self.largest_batch or largest, largest // 2)
            self._add(joined, accumulator, block)

    def _to_moments(self, sums: Any) -> Moments:
        patch = self._prepared.patch
        moments = replace(self._empty, matrix=patch.matrix(sums), tallies=patch.tallies(sums))
        return moments if moments.weight is not None else moments.without_outputs(self._prepared.suppressed_outputs)

    def _check_resumed(self, checkpoint: Path) -> None:
        """Check that the sums of a checkpoint are sums of rows.

        Raises:
            DataError: when they are not: the file was damaged or edited.
        """
        start, span = self._writer.start, self._prepared.patch.accumulator_slices[-1]
        if not start.sums:
            return
        blocks = [sums[span] for sums in start.sums]
        moments = self._to_moments([np.sum(arrays, axis=0) for arrays in zip(*blocks, strict=True)])
        # The first entry of the first sum counts the rows of a block.
        counts = [float(sums[0][0, 0]) for sums in blocks]
        is_count = all(count >= 0 and count.is_integer() for count in counts)
        is_sample, plan = self._prepared.rows_kind == "sample", self._prepared.plan
        is_short = moments.n < start.samples and not (plan.by_row or plan.ignores_labels or plan.mask)
        if not is_count or (is_sample and (moments.n > start.samples or is_short)):
            raise damaged(checkpoint, f"it counts {min(counts):g} to {max(counts):g} rows in blocks")
        violation = find_violation(moments)
        if violation is not None:
            raise damaged(checkpoint, f"of its sums, {violation}")

    def _running_d_lr(self, batches: Batches, lane_sums: Sequence[Sequence[Array]]) -> float | None:
        """D_LR of the rows that all lanes have summed so far; None where no row counts."""
        sums = [np.sum(arrays, axis=0) for arrays in zip(*lane_sums, strict=True)]
        moments = self._to_moments(sums)
        check_finite(moments, batches, self._prepared)
        with single_threaded_blas(len(moments.matrix) ** 3):
            return compute_richness(Sample.from_moments(moments)).d_lr if moments.n else None

    def _save(self, count: int, batches: Batches, timing: Timing) -> None:
        with timing.measure(Stage.RUNNING):
            self.lanes.wait()
        with timing.measure(Stage.SAVING):
            shifts = (self._shift, *self._prepared.layer_shifts.values())
            fingerprint = batches.fingerprint_at(self.samples)
            self._writer.save(lambda: CheckpointState(count, self.samples, fingerprint, shifts, self.lanes.read()))


def _describe_run(prepared: PreparedModel, blocks: int) -> dict[str, Any]:
    """What identifies sums by the way their model is run. The keys stand in checkpoint files."""
    plan = prepared.plan
    return {
        "samples a run": plan.batch_size,
        "blocks": blocks,
        "runs a product": prepared.patch.batches_per_product,
        "targets": plan.K,
        "mask": None if plan.mask is None else str(plan.mask),
        **({} if plan.classes is None else {"classes that occur": _list_digest(plan.classes)}),
    }


def _list_digest(numbers: Sequence[int]) -> str:
    """What tells columns of classes from others, as many: sums of other classes must not be added to them."""
    return hashlib.sha256(np.asarray(numbers, dtype="<i8").tobytes()).hexdigest()


def check_finite(moments: Moments, batches: Batches, prepared: PreparedModel) -> None:
    """Check that sums are finite, and of a size that metrics can be computed from.

    Raises:
        DataError: when they are not; the message names the input and the row where the data are the cause.
        ModelError: when a constant of the model is the cause; the message names it and counts its values.
    """
    blocks: tuple[BlockName, ...] = ("features", "outputs", "targets")
    name = next((name for name in blocks if not moments.is_finite(name)), None)
    if name is None:
        check_magnitude(moments)
        return
    if batches.first_not_finite is not None:
        raise DataError(
            f"{batches.first_not_finite}, so the {name} are not finite",
            "finite numbers",
            "Fix or leave out these rows.",
        )
    head = prepared.head
    cause = explain_not_finite(Graph(prepared.model), (head.features if name == "features" else head.outputs).tensor)
    if cause is not None:
        raise ModelError(
            f"{cause}, and the {name} hold NaN or infinity",
            "finite weights",
            "The file is damaged, or its training diverged: export an earlier checkpoint.",
        )
    raise DataError(
        f"the {name} hold NaN or infinity, though the inputs and the weights are finite",
        "finite numbers",
        "The model overflows on these data: check their scale, or export it in float32.",
    )
