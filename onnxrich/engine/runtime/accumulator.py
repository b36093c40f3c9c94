"""Blocks of moments that grow on their devices, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onnxrich.engine.runtime.session import Feed, Session, native_errors
from onnxrich.model.patch.instrument import Patch
from onnxrich.moments.matrix import Array

# A tensor that stays where the runtime has put it.
DeviceTensor: TypeAlias = ort.OrtValue

# Batches that may wait for a lane: one to begin with at once, while the next is read.
AHEAD = 2
# All accumulators of a block.
ALL = slice(None)


def placed(session: Session, arrays: Sequence[NDArray[Any]]) -> list[DeviceTensor]:
    """Arrays in the memory of a session's device; on the CPU it is the arrays' own, and the runtime writes into it.

    Raises:
        ModelError: when the device has no room for them.
    """
    room = ("room for the moments", "Pass fewer --blocks, or fewer --layers.")
    with native_errors(session.name, "the moments can't be made", room=room):
        return [ort.OrtValue.ortvalue_from_numpy(array, session.device.memory, session.number) for array in arrays]


@dataclass(frozen=True, eq=False)
class LaneSum:
    """Sums of all blocks of a lane together, on the host, and the seconds that it took to add them up."""

    sums: list[Array]
    seconds: float


class Accumulator:
    """The blocks of moments of one session. Adding to one of many costs what adding to a single one would.

    A run reads the sums of its block and writes the next ones into a spare set of buffers, which then trade places: so
    a run that fails leaves the sums as they were. Only `read` brings them to the host.

    Args:
        session: over the patched model.
        patch: the patch.
        shift: float64 array of shape (d,) that the sums run around.
        blocks: numbers of its blocks; all begin at zero rows.
    """

    def __init__(self, session: Session, patch: Patch, shift: Array, *, blocks: Sequence[int]) -> None:
        self._session, self._patch, self._shift = session, patch, np.ascontiguousarray(shift.reshape(1, -1))
        self._sums = {block: placed(session, zeros(patch.shapes)) for block in blocks}
        self._spare = placed(session, zeros(patch.shapes))
        self._empty = placed(session, [part.empty for part in patch.parts]) if patch.buffered else []

    def add(self, feeds: Sequence[Feed], block: int, *, keep: Sequence[str] = ()) -> list[DeviceTensor]:
        """Add the moments of some batches to a block, by one product of all their rows.

        Args:
            feeds: for each batch, the model's inputs, and the patch's weights and targets; at most as many as the patch
                holds runs.
            block: number of the block.
            keep: outputs of the last batch that are wanted as well.

        Returns:
            Those outputs, in the memory of the device.

        Raises:
            OutOfMemoryError: when they do not fit into memory; the sums are as they were before.
            ModelError: when the runtime fails on a batch; the same holds.
        """
        patch, sums, held = self._patch, list(self._sums[block]), []
        with native_errors(self._session.name, "it fails on this batch"):
            for feed in feeds[:-1]:
                parts, sums = self._hold(feed, sums)
                held.append(parts)
            binding = self._bound(feeds[-1], sums, held)
            for name, value in zip(patch.accumulated, self._spare, strict=True):
                binding.bind_ortvalue_output(name, value)
            for name in keep:
                binding.bind_output(name, self._session.device.memory, self._session.number)
            self._session.live.run_with_iobinding(binding)
        self._sums[block], self._spare = self._spare, self._sums[block]
        return list(binding.get_outputs()[len(patch.accumulated) :]) if keep else []

    def _hold(self, feed: Feed, sums: list[ort.OrtValue]) -> tuple[list[ort.OrtValue], list[ort.OrtValue]]:
        """Run a batch whose rows are to be added later: its parts of z, and the sums with its tallies."""
        patch, binding = self._patch, self._bound(feed, sums, None)
        tallies = patch.accumulated[-1:] if patch.has_tallies else ()
        for name in (*(part.name for part in patch.parts), *tallies):
            binding.bind_output(name, self._session.device.memory, self._session.number)
        self._session.live.run_with_iobinding(binding)
        made = binding.get_outputs()
        count = len(patch.parts)
        return made[:count], sums[: len(sums) - len(tallies)] + made[count:]

    def _bound(self, feed: Feed, sums: list[ort.OrtValue], held: Sequence[list[ort.OrtValue]] | None) -> ort.IOBinding:
        """A binding of all inputs; rows are held back where there is no list of those that were."""
        patch, binding = self._patch, self._session.live.io_binding()
        given = dict(feed) | {patch.shift: self._shift}
        if patch.last is not None:
            given[patch.last] = np.array(held is not None)
        for name, array in given.items():
            binding.bind_cpu_input(name, array)
        values = [*(held or ()), *[self._empty] * len(patch.buffered)][: len(patch.buffered)]
        for names, parts in zip((patch.accumulators, *patch.buffered), (sums, *values), strict=True):
            for name, value in zip(names, parts, strict=True):
                binding.bind_ortvalue_input(name, value)
        return binding

    def read(self, block: int, part: slice = ALL) -> list[Array]:
        """The sums of a block so far, on the host, in the order of the patch; valid until more is added to it."""
        return [value.numpy() for value in self._sums[block][part]]

    def total(self, part: slice = ALL) -> LaneSum:
        """The sums of all its blocks together so far, on the host."""
        start = time.perf_counter()
        blocks = [self.read(block, part) for block in self._sums]
        sums = [np.sum(same, axis=0) for same in zip(*blocks, strict=True)]
        return LaneSum(sums, time.perf_counter() - start)

    def forget(self, block: int, part: slice = ALL) -> None:
        """Let go of sums of a block, and of their memory; no more can be added to it."""
        self._sums[block][part] = placed(self._session, [np.empty(0) for _ in self._sums[block][part]])

    def restore(self, block: int, sums: Sequence[Array]) -> None:
        """Set the sums of a block to what `read` gave before."""
        self._sums[block] = placed(self._session, [np.array(array) for array in sums])


def zeros(shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Zeros in one piece, written now: a large piece lies in large pages, and no batch waits for its memory."""
    sizes = [rows * columns for rows, columns in shapes]
    whole = np.empty(sum(sizes))
    whole.fill(0.0)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


class LanePool:
    """Lanes that work at once over one patched model, each with its share of the blocks and a thread of its own.

    Block g is with lane g mod S, and a batch's number alone decides its block: so sums are the same to the bit whatever
    the number of lanes, unless memory runs out on the way. A single lane works in the caller's thread.

    Args:
        sessions: of the lanes: one for each device, or the same again for runs at once on one.
        patch: the patch.
        shift: float64 array of shape (d,) that the sums run around.
        blocks: number of blocks.
    """

    def __init__(self, sessions: Sequence[Session], patch: Patch, shift: Array, *, blocks: int) -> None:
        S = min(len(sessions), blocks)
        self._accumulators = [
            Accumulator(session, patch, shift, blocks=range(at, blocks, S)) for at, session in enumerate(sessions[:S])
        ]
        self._pools = [ThreadPoolExecutor(1, "onnxrich-lane") for _ in range(S)] if S > 1 else []
        self._waiting: list[list[Future[None]]] = [[] for _ in range(S)]
        self.blocks = blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def add(self, work: Callable[[Accumulator, int], None], block: int) -> None:
        """Have work done with the accumulator that holds a block; waits when enough is waiting for its lane.

        What earlier work raised in this lane is raised here, or by `settle`.
        """
        at = block % len(self._accumulators)
        if not self._pools:
            work(self._accumulators[at], block)
            return
        waiting = self._waiting[at]
        if len(waiting) >= AHEAD:
            waiting.pop(0).result()
        waiting.append(self._pools[at].submit(work, self._accumulators[at], block))

    def totals(self, part: slice = ALL) -> list[Future[LaneSum]]:
        """What each lane has summed when all that it was given is done; but for a single one, nobody waits for it."""
        if self._pools:
            return [
                pool.submit(accumulator.total, part)
                for pool, accumulator in zip(self._pools, self._accumulators, strict=True)
            ]
        made: Future[LaneSum] = Future()
        made.set_result(self._accumulators[0].total(part))
        return [made]

    def settle(self) -> None:
        """Wait until all that was added is done."""
        for waiting in self._waiting:
            while waiting:
                waiting.pop(0).result()

    def read(self, part: slice = ALL) -> list[list[Array]]:
        """The sums of all blocks so far, or a part of each, on the host; valid until more is added."""
        self.settle()
        return [self._accumulators[block % len(self._accumulators)].read(block, part) for block in range(self.blocks)]

    def take(self, part: slice = ALL) -> Iterator[list[Array]]:
        """The sums of each block at the end, or a part of each, on the host; those that were given are let go of."""
        self.settle()
        for block in range(self.blocks):
            accumulator = self._accumulators[block % len(self._accumulators)]
            yield accumulator.read(block, part)
            accumulator.forget(block, part)

    def restore(self, sums: Sequence[Sequence[Array]]) -> None:
        """Set the sums of all blocks to what `read` gave before."""
        for block, arrays in enumerate(sums):
            self._accumulators[block % len(self._accumulators)].restore(block, arrays)
