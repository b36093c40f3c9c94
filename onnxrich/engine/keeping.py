"""The checkpoint of a pass that is under way: goes on from the one that is there, and keeps it up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from onnxrich._utils.writing import place
from onnxrich.engine import checkpoint
from onnxrich.engine.batches import Batches
from onnxrich.engine.checkpoint import State
from onnxrich.engine.monitor import Pace
from onnxrich.errors import DataError
from onnxrich.moments.matrix import Array

# The share of the time that a pass may wait while its sums are copied to a file, and the seconds between two at least;
# the first comes soon, for a pass that is ended again and again is to get on each time.
SAVE_SHARE, SAVE_SECONDS, FIRST_SECONDS = 0.1, 5.0, 1.0


class Keeper:
    """Keeps the checkpoint of a pass. Without a path it keeps none, and a pass begins at its first row.

    The pass waits while its sums are copied into a file. That is forced to the disk, and takes the checkpoint's place,
    in a thread beside it, which may take long: so little is lost of a pass that is killed even where disks are slow.

    Args:
        path: the checkpoint.
        about: what makes the pass what it is.
        shapes: of the accumulators of each block.
        shifts: about which sums would run if they began now.
        tolerance: by how much of their norm those of the checkpoint may differ.

    Attributes:
        done: how far the pass was when the checkpoint was written.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when there can be no such file.
    """

    def __init__(
        self,
        path: Path | None,
        about: Mapping[str, Any],
        *,
        shapes: Sequence[Sequence[tuple[int, ...]]],
        shifts: Sequence[Array],
        tolerance: float,
    ) -> None:
        begun = None if path is None else checkpoint.load(path, about, shapes, shifts, tolerance=tolerance)
        self.done = begun or State(0, 0, None, shifts)
        self._path, self._about, self._kept = path, about, self.done.batches
        self._pool = ThreadPoolExecutor(1, "onnxrich-checkpoint")
        self._placing: Future[float] | None = None

    def __enter__(self) -> Self:
        self._pace = Pace(SAVE_SECONDS, SAVE_SHARE, min(FIRST_SECONDS, SAVE_SECONDS))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self.settle()

    def due(self) -> bool:
        """Whether a newer checkpoint is due. None is while the disk writes the last one, and as long again."""
        if self._path is None or not self._pace.due():
            return False
        return self._placing is None or (self._placing.done() and time.perf_counter() >= self._placing.result())

    def wanted(self, batches: int) -> bool:
        """Whether there is to be a checkpoint at the end, behind so many batches: none holds them yet."""
        return self._path is not None and batches > self._kept

    def save(self, read: Callable[[], State]) -> None:
        """Keep a newer state.

        Args:
            read: gives it; its sums may change as soon as this returns.

        Raises:
            OutputError: when it, or the one before it, can't be written.
        """
        assert self._path is not None  # noqa: S101 - nothing is due without one
        with self._pace.spending():
            self.settle()
            state = read()
            staged = checkpoint.stage(self._path, self._about, state)
            self._placing, self._kept = self._pool.submit(_place, staged, self._path), state.batches

    def settle(self) -> None:
        """Wait until the last state is safe on the disk.

        Raises:
            OutputError: when it can't be written.
        """
        if self._placing is not None:
            self._placing.result()

    def check(self, batches: int, samples: int, read: Batches, *, ended: bool = False) -> None:
        """Check that the data have, up to the checkpoint, the samples that they had when it was written.

        Args:
            batches: that were read so far.
            samples: in them.
            read: where they come from.
            ended: whether there are no more.

        Raises:
            DataError: when they don't.
        """
        done = self.done
        here = batches == done.batches and not ended
        rows = read.fingerprint_of(samples) if here else None
        if (ended and batches < done.batches) or (here and samples != done.samples):
            found = f"{samples:,} samples in the first {batches:,} batches, and {done.samples:,} in the "
            found += f"{done.batches:,} of the checkpoint"
        elif rows is not None and done.fingerprint is not None and rows != done.fingerprint:
            found = f"the first {samples:,} samples differ from those of the checkpoint"
        else:
            return
        remedy = "Pass those, or remove the checkpoint to begin anew."
        raise DataError(found, "the data that the checkpoint was made with", remedy)


def _place(staged: Path, path: Path) -> float:
    """Put a checkpoint in its place; gives the time until which the disk is to rest, which is as long as that took."""
    begun = time.perf_counter()
    place(staged, path)
    ended = time.perf_counter()
    return ended + (ended - begun)
