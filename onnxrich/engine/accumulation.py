"""The loop of a pass: batches in, sums in blocks out, in one lane or several, with checkpoints and looks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.source import Batch
from onnxrich.engine.batches import Batches, grouped, pieces
from onnxrich.engine.checkpoint import CheckpointState, CheckpointWriter
from onnxrich.engine.monitor import Monitor
from onnxrich.engine.prepared import PreparedModel, pilot_shift
from onnxrich.engine.runtime import Accumulator, LanePool, OutOfMemoryError
from onnxrich.engine.sizing import block_count
from onnxrich.errors import DataError
from onnxrich.metrics.base import Sample
from onnxrich.metrics.richness import compute_richness
from onnxrich.model.head.head import allowed_residual
from onnxrich.moments.matrix import Array, Moments
from onnxrich.progress import Listener, Timing


class Accumulation:
    """Adds group b of the batches to block b mod G; the rows of a group are added by one product.

    Args:
        live: the model.
        first: the first batch.
        residual: relative residual of the head's check.
        blocks: number of blocks of moments; chosen from their size when left out.
        about: what else makes the pass what it is, for the checkpoint.
        saved: checkpoint file, from which to go on, and which is kept up to date.

    Attributes:
        fleet: the lanes and their blocks; to be entered while batches are added.
        samples: number of samples that were added.
        resumed: those of them that a checkpoint brought.
        most: samples that fit into a lane's memory at once, None as long as whole batches do.
    """

    def __init__(
        self,
        live: PreparedModel,
        first: Batch,
        *,
        residual: float,
        blocks: int | None,
        about: Mapping[str, Any] | None = None,
        saved: str | os.PathLike[str] | None = None,
    ) -> None:
        shift, device = pilot_shift(live, first), live.session.device
        sessions = [live.session, *(live.another(number) for number in range(1, len(device.numbers)))]
        G = max(block_count(len(shift), blocks), len(sessions))
        self._keeper = CheckpointWriter(
            None if saved is None else Path(saved), {**(about or {}), **_identity(live, G)},
            shapes=[live.patch.shapes] * G, shifts=[shift, *live.given.values()], tolerance=allowed_residual(live.head),
        )  # fmt: skip
        # Sums that go on do so about the shifts that they began with.
        self._shift, *given = self._keeper.done.shifts
        self._live = replace(live, given=dict(zip(live.given, given, strict=True)))
        lanes = [session for _ in range(device.lanes) for session in sessions]
        self.fleet = LanePool(lanes, live.patch, live.patch.summed_entries(self._shift), blocks=G)
        self.fleet.restore(self._keeper.done.sums)
        self.samples = self.resumed = 0
        self.most: int | None = None
        affine, plan = live.head.affine, live.plan
        self._zero = Moments.empty(
            live.features.shape[1], live.outputs.shape[1], plan.K, targets=plan.targets,
            dtype=affine.dtype if affine else "float32", residual=residual,
        )  # fmt: skip

    def blocks(self) -> list[Moments]:
        """The moments of each block, at the end: their sums are let go of."""
        return [self._moments(sums) for sums in self.fleet.take(self._live.patch.accumulator_slices[-1])]

    def layer(self, index: int) -> list[Moments]:
        """The moments of a hidden layer in each block, at the end: their sums are let go of."""
        patch = self._live.patch.layers[index]
        zero = replace(
            self._zero,
            matrix=np.zeros((patch.edges[-1], patch.edges[-1])),
            shift=self._live.given[patch.shift][0],
            p=patch.edges[-1] - len(self._shift) + self._zero.p,
        )
        return [
            replace(zero, matrix=patch.matrix(sums))
            for sums in self.fleet.take(self._live.patch.accumulator_slices[index])
        ]

    def run(
        self,
        batches: Batches,
        *,
        total: int | None,
        timing: Timing,
        listen: Listener,
    ) -> None:
        """Add all batches.

        Args:
            batches: the batches, from the first one.
            total: number of samples, None for a stream.
            timing: gets the seconds of reading, running, looking and saving.
            listen: hears of the progress.

        Raises:
            DataError: when a value is not finite, or the data are others than those of the checkpoint.
            ModelError: when the runtime fails.
        """
        looks = Monitor(
            self.fleet, self._live.patch.accumulator_slices[-1],
            numbers=self.fleet.blocks * self._live.patch.edges[-1] ** 2, d_lr=partial(self._look, batches), total=total,
            timing=timing, listen=listen,
        )  # fmt: skip
        with self._keeper as keeper:
            count = 0
            for count, group in enumerate(grouped(batches, self._live.patch.batches_per_product), start=1):
                self.samples += sum(batch.rows for batch in group)
                if count <= keeper.done.batches:
                    self.resumed = self.samples
                    keeper.check(count, self.samples, batches)
                    looks.skip(self.samples)
                    continue
                with timing.measure("running"):
                    self.fleet.add(partial(self._add, group), (count - 1) % self.fleet.blocks)
                looks.step(self.samples, resumed=self.resumed)
                # Not inside of a batch that was cut for the model: of its rows there is no fingerprint.
                if keeper.due() and batches.ended(self.samples):
                    self._save(count, batches, timing)
            with timing.measure("running"):
                self.fleet.settle()
            keeper.check(count, self.samples, batches, ended=True)
            if keeper.wanted(count):
                self._save(count, batches, timing)
                with timing.measure("saving"):
                    keeper.settle()

    def _add(self, group: Sequence[Batch], accumulator: Accumulator, block: int) -> None:
        """Add batches by as few products as may be, in halves of halves where memory does not hold them."""
        plan, most = self._live.plan, self.most
        runs = group if most is None else [piece for batch in group for piece in pieces(batch, most)]
        for together in grouped(runs, self._live.patch.batches_per_product):
            if self.most != most:  # memory turned out to be less on the way
                self._add(together, accumulator, block)
                continue
            try:
                accumulator.add([self._live.feed(batch) for batch in together], block)
                continue
            except OutOfMemoryError:
                largest = max(batch.rows for batch in together)
                if largest == 1 or plan.fixed:
                    raise
            # Here and not above, where the error still holds what the failed run had taken. Another lane may have found
            # less room meanwhile.
            self.most = min(self.most or largest, largest // 2)
            self._add(together, accumulator, block)

    def _moments(self, sums: Any) -> Moments:
        patch = self._live.patch
        return replace(self._zero, matrix=patch.matrix(sums), shift=self._shift, tallies=patch.tallies(sums))

    def _look(self, batches: Batches, totals: Sequence[Sequence[Array]]) -> float | None:
        """D_LR of the rows that all lanes have summed so far; None where none counts."""
        running = self._moments([np.sum(same, axis=0) for same in zip(*totals, strict=True)])
        check_finite(running, batches)
        with single_threaded_blas(len(running.matrix) ** 3):
            return compute_richness(Sample(running)).d_lr if running.n else None

    def _save(self, count: int, batches: Batches, timing: Timing) -> None:
        with timing.measure("running"):
            self.fleet.settle()
        with timing.measure("saving"):
            shifts, rows = (self._shift, *self._live.given.values()), batches.fingerprint_of(self.samples)
            self._keeper.save(lambda: CheckpointState(count, self.samples, rows, shifts, self.fleet.read()))


def _identity(live: PreparedModel, blocks: int) -> dict[str, Any]:
    """What makes sums what they are, of how a model is run."""
    plan = live.plan
    return {
        "samples a run": plan.size,
        "blocks": blocks,
        "runs a product": live.patch.batches_per_product,
        "targets": plan.K,
        "mask": plan.mask,
    }


def check_finite(moments: Moments, batches: Batches) -> None:
    """Check that the sums are finite.

    Raises:
        DataError: when they are not; it names the input and the row where there is one to blame.
    """
    if np.isfinite(moments.matrix).all():
        return
    diagonal = np.diag(moments.matrix)
    f, y = 1 + moments.p, 1 + moments.p + moments.C
    blocks = {"features": diagonal[1:f], "outputs": diagonal[f:y], "targets": diagonal[y:]}
    where = next((name for name, part in blocks.items() if not np.isfinite(part).all()), "features")
    cause = batches.first_not_finite
    raise DataError(
        f"{cause}, which makes the {where} so"
        if cause
        else f"the {where} hold NaN or infinity, though the inputs are finite",
        "finite numbers",
        "Mend or leave out these rows." if cause else "The model overflows on these data: check their scale.",
    )
