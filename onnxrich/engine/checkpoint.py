"""Checkpoints of a pass: their file format, and the writer that keeps one up to date.

Requirements: batch b adds to block b mod G, and a checkpoint is taken between two batches. So a pass that resumes at
the position of its checkpoint adds the same numbers in the same order as an uninterrupted one: the sums are the same to
the bit. A checkpoint file is complete at any time.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from onnxrich._utils.archive import MOST_ARRAYS, Archive, ArchiveError, open_archive
from onnxrich._utils.files import open_regular, place, sweep
from onnxrich._utils.files import stage as stage_file
from onnxrich._utils.parsing import LARGEST, parse_json
from onnxrich.engine.batches import Batches
from onnxrich.engine.monitor import RateLimiter
from onnxrich.errors import DataError, OutputError
from onnxrich.moments.matrix import Array

SCHEMA = "onnxrich.checkpoint/2"
START_ANEW = "Pass another --checkpoint, or remove the file to start anew."

# The most characters of an entry of a description in a message.
_LONGEST_VALUE = 60

# Share of the time that a pass may wait while its sums are copied to a file, and the fewest seconds between two
# checkpoints. The first one comes soon, so that a pass that is killed again and again advances each time.
SAVE_SHARE, SAVE_SECONDS, FIRST_SECONDS = 0.1, 5.0, 1.0


@dataclass(frozen=True, eq=False)
class CheckpointState:
    """The position of a pass and its sums.

    Attributes:
        batches: number of batches that were added.
        samples: number of samples in them.
        fingerprint: fingerprint of their rows; None before the first batch.
        shifts: shifts of the sums: that of the head, then those of the hidden layers.
        sums: accumulators of each block; empty before the first batch.
    """

    batches: int
    samples: int
    fingerprint: str | None
    shifts: Sequence[Array]
    sums: Sequence[Sequence[Array]] = ()


def stage_checkpoint(path: Path, description: Mapping[str, Any], state: CheckpointState) -> Path:
    """Write a checkpoint to a temporary file beside its path; `place` moves it there.

    Args:
        path: path of the checkpoint.
        description: JSON-able description of the pass; `load_checkpoint` refuses another one.
        state: the position of the pass and its sums.

    Returns:
        The temporary file.

    Raises:
        OutputError: when it can't be written.
    """
    header = {"schema": SCHEMA, "about": dict(description), "batches": state.batches, "samples": state.samples}
    header["fingerprint"] = state.fingerprint
    arrays = {f"{block}.{j}": array for block, sums in enumerate(state.sums) for j, array in enumerate(sums)}
    arrays |= {f"shift.{j}": array for j, array in enumerate(state.shifts)}

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, checkpoint=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)

    return stage_file(path, write)


def load_checkpoint(
    path: Path,
    description: Mapping[str, Any],
    *,
    shapes: Sequence[Sequence[tuple[int, ...]]],
    shifts: Sequence[Array],
    tolerance: float,
) -> CheckpointState | None:
    """Load a checkpoint. Return None when none exists yet. Temporary files of a killed process are removed.

    Args:
        path: path of the checkpoint.
        description: description of the pass that is to resume.
        shapes: shapes of the accumulators of each block.
        shifts: shifts of sums that start now, the means of the first rows.
        tolerance: allowed difference of the checkpoint's shifts, relative to their norm: another machine, or other
            kernels of a GPU, round differently.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when the folder does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: the folder does not exist", "a folder for the checkpoint", "Make the folder first.")
    sweep(path)
    if not os.path.lexists(path):
        return None
    count = sum(map(len, shapes)) + len(shifts)
    with _refuse_damaged(path), _open_checkpoint(path, arrays=count) as archive:
        header = _read_header(archive)
        difference = _find_difference(header["about"], json.loads(json.dumps(description)))
        if difference is None:
            state = _read_state(header, archive, shapes=shapes, shift_shapes=[shift.shape for shift in shifts])
            if all(_is_near(*pair, tolerance) for pair in zip(state.shifts, shifts, strict=True)):
                return state
            difference = "the first rows give other features now"
    raise DataError(
        f"checkpoint {str(path)!r} belongs to another run: {difference}",
        "the same model, data and options",
        START_ANEW,
    )


def saved_block_count(path: Path) -> int | None:
    """The number of blocks in a checkpoint; None where it can't be read. `load_checkpoint` reports the reason."""
    try:
        with _open_checkpoint(path, arrays=MOST_ARRAYS) as archive:
            count = _read_header(archive)["about"]["blocks"]
    except (KeyError, TypeError, ValueError):
        return None
    return count if type(count) is int and count > 0 else None


def damaged(path: Path, reason: str = "") -> DataError:
    """The error that says why a file is no checkpoint."""
    clause = f": {reason}" if reason else ""
    return DataError(
        f"checkpoint {str(path)!r} is damaged or no checkpoint{clause}", f"a file of schema {SCHEMA}", START_ANEW
    )


@contextmanager
def _refuse_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise damaged(path, str(error) if isinstance(error, ArchiveError) else "") from error


@contextmanager
def _open_checkpoint(path: Path, *, arrays: int) -> Iterator[Archive]:
    """Open the archive of a checkpoint.

    Args:
        path: the file.
        arrays: number of arrays that it may hold.
    """
    with open_regular(path, DataError, "a checkpoint") as file, open_archive(file, arrays=arrays) as archive:
        yield archive


def _read_header(archive: Archive) -> dict[str, Any]:
    """Read what a checkpoint says of itself.

    Raises:
        KeyError, TypeError, ValueError: when it has another form.
    """
    header: dict[str, Any] = parse_json(archive.read("checkpoint", "u1", most=LARGEST).tobytes())
    if header["schema"] != SCHEMA:
        raise ArchiveError("its schema is another one")
    batches, samples = header["batches"], header["samples"]
    if type(batches) is not int or type(samples) is not int or min(batches, samples) < 1:
        raise ArchiveError("it stands before the first batch")
    if not isinstance(header["fingerprint"], str):
        raise ArchiveError("it has no fingerprint of its rows")
    return header


def _read_state(
    header: Mapping[str, Any],
    archive: Archive,
    *,
    shapes: Sequence[Sequence[tuple[int, ...]]],
    shift_shapes: Sequence[tuple[int, ...]],
) -> CheckpointState:
    """Read the sums of a checkpoint.

    Raises:
        ValueError: when one is missing, has another shape, or holds NaN or infinity.
    """

    def read(name: str, shape: tuple[int, ...]) -> Array:
        array: Array = archive.read(name, "f8", shape)
        if not np.isfinite(array).all():
            raise ArchiveError(f"{name!r} holds NaN or infinity")
        return array

    sums = [[read(f"{block}.{j}", shape) for j, shape in enumerate(each)] for block, each in enumerate(shapes)]
    shifts = [read(f"shift.{j}", shape) for j, shape in enumerate(shift_shapes)]
    return CheckpointState(header["batches"], header["samples"], header["fingerprint"], shifts, sums)


def _is_near(saved: Array, current: Array, tolerance: float) -> bool:
    return bool(np.linalg.norm(saved - current) <= tolerance * np.linalg.norm(current))


def _find_difference(saved: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """A clause on the first entry in which two descriptions differ; None where they agree."""
    name = next((name for name, value in current.items() if saved[name] != value), None)
    if name is None:
        return None
    then, now = saved[name], current[name]
    if name != "targets":
        return f"{name} {_to_text(then)} then, {_to_text(now)} now"
    if then and now:
        return f"{then} targets then, {now} now"
    return "labels were given then, none now" if then else "no labels were given then, but are now"


def _to_text(value: Any) -> str:
    """A value as text; a hash is shortened."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,}", value):
        return value[:12]
    text = "none" if value is None else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


class CheckpointWriter:
    """Keeps the checkpoint of a pass up to date. Without a path it writes none, and the pass starts at its first row.

    The pass waits while its sums are copied into a temporary file. A thread forces that file to the disk, which may
    take long, and moves it to the path of the checkpoint. So a killed pass loses little work even where disks are slow.

    Args:
        path: path of the checkpoint.
        description: what identifies the pass.
        shapes: shapes of the accumulators of each block.
        shifts: shifts of sums that start now.
        tolerance: allowed difference of the checkpoint's shifts, relative to their norm.

    Attributes:
        start: the state from which the pass resumes.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when the folder does not exist.
    """

    def __init__(
        self,
        path: Path | None,
        description: Mapping[str, Any],
        *,
        shapes: Sequence[Sequence[tuple[int, ...]]],
        shifts: Sequence[Array],
        tolerance: float,
    ) -> None:
        state = None
        if path is not None:
            state = load_checkpoint(path, description, shapes=shapes, shifts=shifts, tolerance=tolerance)
        self.start = state or CheckpointState(0, 0, None, shifts)
        self._path, self._description, self._saved_batches = path, description, self.start.batches
        self._thread = ThreadPoolExecutor(1, "onnxrich-checkpoint")
        self._placing: Future[float] | None = None

    def __enter__(self) -> Self:
        self._limiter = RateLimiter(SAVE_SECONDS, SAVE_SHARE, min(FIRST_SECONDS, SAVE_SECONDS))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()

    def is_due(self) -> bool:
        """Whether a new checkpoint is due. At most one is written at a time, with an equal pause after it."""
        if self._path is None or not self._limiter.is_due():
            return False
        return self._placing is None or (self._placing.done() and time.perf_counter() >= self._placing.result())

    def needs_last(self, batches: int) -> bool:
        """Whether a checkpoint is missing at the end of a pass of so many batches."""
        return self._path is not None and batches > self._saved_batches

    def save(self, read_state: Callable[[], CheckpointState]) -> None:
        """Save a new state.

        Args:
            read_state: gives the state; its sums may change as soon as `save` returns.

        Raises:
            OutputError: when this checkpoint, or the one before it, can't be written.
        """
        assert self._path is not None  # noqa: S101 - nothing is due without one
        with self._limiter.measure():
            self.wait()
            state = read_state()
            staged = stage_checkpoint(self._path, self._description, state)
            self._placing, self._saved_batches = self._thread.submit(_place, staged, self._path), state.batches

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            OutputError: when it can't be written.
        """
        if self._placing is not None:
            self._placing.result()

    def check_data(self, count: int, samples: int, batches: Batches, *, ended: bool = False) -> None:
        """Check that the data up to the checkpoint are those that it was written with.

        Args:
            count: number of batches that were read so far.
            samples: number of samples in them.
            batches: the batches.
            ended: whether no batch follows.

        Raises:
            DataError: when the data differ.
        """
        start = self.start
        at_start = count == start.batches and not ended
        fingerprint = batches.fingerprint_at(samples) if at_start else None
        if (ended and count < start.batches) or (at_start and samples != start.samples):
            found = (
                f"the first {count:,} batches hold {samples:,} samples, and the {start.batches:,} of the checkpoint "
                f"{start.samples:,}"
            )
        elif fingerprint is not None and start.fingerprint is not None and fingerprint != start.fingerprint:
            found = f"the first {samples:,} samples differ from those of the checkpoint"
        else:
            return
        raise DataError(found, "the data of the checkpoint", "Pass those data, or remove the checkpoint to start anew.")


def _place(staged: Path, path: Path) -> float:
    """Move a checkpoint to its path. Return the time until which the disk should rest: as long as the move took."""
    start = time.perf_counter()
    place(staged, path)
    end = time.perf_counter()
    return end + (end - start)
