"""A pass that survives its process: the sums so far and the position in the data, in a file that is whole at any time.

Requirements: batch b adds to block b mod G, and a checkpoint is taken between two batches. So a pass that goes on at
the position of its checkpoint adds the same numbers in the same order as one that was never stopped: the same to the
bit.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from onnxrich._utils.files import place, sweep
from onnxrich._utils.files import stage as stage_file
from onnxrich.data.formats.numpy import read_arrays
from onnxrich.engine.batches import Batches
from onnxrich.engine.monitor import RateLimiter
from onnxrich.errors import DataError, OutputError
from onnxrich.moments.matrix import Array

SCHEMA = "onnxrich.checkpoint/2"
ANEW = "Pass another --checkpoint, or remove the file to begin anew."


@dataclass(frozen=True, eq=False)
class CheckpointState:
    """How far a pass is.

    Attributes:
        batches: number of batches that were added.
        samples: number of samples in them.
        fingerprint: of their rows; None before the first batch.
        shifts: about which the sums run: of the head, and of the inputs of hidden layers.
        sums: accumulators of each block; none before the first batch.
    """

    batches: int
    samples: int
    fingerprint: str | None
    shifts: Sequence[Array]
    sums: Sequence[Sequence[Array]] = ()


def stage_checkpoint(path: Path, about: Mapping[str, Any], state: CheckpointState) -> Path:
    """Write a newer checkpoint, which `writing.place` is to put in the place of the one that is there.

    Args:
        path: the file.
        about: JSON-able description of the pass; `load` refuses another one.
        state: how far it is.

    Returns:
        Where it lies for now.

    Raises:
        OutputError: when it can't be written.
    """
    told = {"schema": SCHEMA, "about": dict(about), "batches": state.batches, "samples": state.samples}
    told["fingerprint"] = state.fingerprint
    arrays = {f"{g}.{j}": array for g, sums in enumerate(state.sums) for j, array in enumerate(sums)}
    arrays |= {f"shift.{j}": array for j, array in enumerate(state.shifts)}

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, checkpoint=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)

    return stage_file(path, write)


def load_checkpoint(
    path: Path,
    about: Mapping[str, Any],
    shapes: Sequence[Sequence[tuple[int, ...]]],
    shifts: Sequence[Array],
    *,
    tolerance: float,
) -> CheckpointState | None:
    """The state that a checkpoint holds, None when there is none yet; half of one, of a killed process, is removed.

    Args:
        path: the file.
        about: description of the pass that is to go on.
        shapes: of the accumulators of each block.
        shifts: about which sums would run if they began now, the means of the first rows.
        tolerance: by how much of their norm those of the checkpoint may differ: another machine, or another choice of
            a GPU's kernels, rounds otherwise.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when there can be no such file.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: no such folder", "a place for the checkpoint", "Make the folder first.")
    sweep(path)
    if not os.path.lexists(path):
        return None
    try:
        arrays = read_arrays(path)
        told = json.loads(arrays["checkpoint"].tobytes())
        if told["schema"] != SCHEMA:
            raise ValueError(told["schema"])
        saved, wanted = told["about"], json.loads(json.dumps(about))
        other = next((name for name, value in wanted.items() if saved[name] != value), None)
        if other is None:
            sums = [_named(arrays, f"{g}.", block) for g, block in enumerate(shapes)]
            about_which = _named(arrays, "shift.", [shift.shape for shift in shifts])
            if all(_near(*pair, tolerance) for pair in zip(about_which, shifts, strict=True)):
                return CheckpointState(
                    int(told["batches"]), int(told["samples"]), told["fingerprint"], about_which, sums
                )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f" ({error.found})" if isinstance(error, DataError) else ""
        raise DataError(
            f"checkpoint {str(path)!r} is damaged or none{reason}", f"a file of schema {SCHEMA}", ANEW
        ) from error
    difference = _difference(other, saved[other], wanted[other]) if other else "the first rows give other features now"
    raise DataError(
        f"checkpoint {str(path)!r} is of another run: {difference}",
        "the same model, data and options",
        ANEW,
    )


def saved_block_count(path: Path) -> int | None:
    """The number of blocks that a checkpoint holds; None where there is none that can be read: `load` says why."""
    try:
        told = json.loads(read_arrays(path, names=("checkpoint",))["checkpoint"].tobytes())
        return int(told["about"]["blocks"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _named(arrays: Mapping[str, Array], name: str, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The arrays of a name and numbers from 0, each of its shape."""
    found = [arrays[f"{name}{number}"] for number in range(len(shapes))]
    if [array.shape for array in found] != list(shapes):
        raise ValueError(f"shapes of {name}")
    return found


def _near(saved: Array, wanted: Array, tolerance: float) -> bool:
    return bool(np.linalg.norm(saved - wanted) <= tolerance * np.linalg.norm(wanted))


def _difference(name: str, saved: Any, wanted: Any) -> str:
    """What was another in the run of a checkpoint, in words."""
    if name != "targets":
        return f"{name} {_shown(saved)} then, {_shown(wanted)} now"
    if saved and wanted:
        return f"{saved} targets then, {wanted} now"
    return "labels were given then, none now" if saved else "no labels were given then, but are now"


def _shown(value: Any) -> str:
    """A value as text; of a hash, what tells it from others."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,}", value):
        return value[:12]
    return "none" if value is None else repr(value)


# The share of the time that a pass may wait while its sums are copied to a file, and the seconds between two at least;
# the first comes soon, for a pass that is ended again and again is to get on each time.
SAVE_SHARE, SAVE_SECONDS, FIRST_SECONDS = 0.1, 5.0, 1.0


class CheckpointWriter:
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
        begun = None if path is None else load_checkpoint(path, about, shapes, shifts, tolerance=tolerance)
        self.done = begun or CheckpointState(0, 0, None, shifts)
        self._path, self._about, self._kept = path, about, self.done.batches
        self._pool = ThreadPoolExecutor(1, "onnxrich-checkpoint")
        self._placing: Future[float] | None = None

    def __enter__(self) -> Self:
        self._pace = RateLimiter(SAVE_SECONDS, SAVE_SHARE, min(FIRST_SECONDS, SAVE_SECONDS))
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

    def save(self, read: Callable[[], CheckpointState]) -> None:
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
            staged = stage_checkpoint(self._path, self._about, state)
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
