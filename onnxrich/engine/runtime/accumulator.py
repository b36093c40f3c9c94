"""Blocks of moments that grow on their devices batch by batch, in one lane or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onnxrich.engine.runtime.host_binding import HostBinding
from onnxrich.engine.runtime.session import Feed, Session, translate_errors
from onnxrich.model.patch.instrument import Patch
from onnxrich.moments.matrix import Array

# A tensor that stays in the memory of its device.
DeviceTensor: TypeAlias = ort.OrtValue

# Batches that may wait for a lane: one that the lane begins with at once, while the next is read.
BATCHES_AHEAD = 2
# All accumulators of a block.
ALL = slice(None)


def to_device(session: Session, arrays: Sequence[NDArray[Any]]) -> list[DeviceTensor]:
    """Place arrays in the memory of a session's device. On the CPU the runtime writes into the arrays themselves.

    Raises:
        ModelError: when the device has no room for them.
    """
    memory_remedy = ("room for the moments", "Pass fewer --blocks, or fewer --layers.")
    with translate_errors(session.name, "the moments can't be allocated", memory_remedy=memory_remedy):
        return [ort.OrtValue.ortvalue_from_numpy(array, session.device.memory, session.number) for array in arrays]


def contiguous_zeros(shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Zeros of these shapes in one allocation, written now.

    A large allocation lies in large pages, and no batch waits for the system to provide its memory.
    """
    sizes = [rows * columns for rows, columns in shapes]
    buffer = np.empty(sum(sizes))
    buffer.fill(0.0)
    arrays = np.split(buffer, np.cumsum(sizes)[:-1])
    return [array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)]


@dataclass(frozen=True, eq=False)
class LaneSum:
    """The sums of a lane over all its blocks, on the host.

    Attributes:
        sums: one float64 array for each accumulator.
        seconds: the time that it took to add the blocks up.
    """

    sums: list[Array]
    seconds: float


class Accumulator:
    """The blocks of moments of one session. Adding to one of many blocks costs as much as adding to a single one.

    A run reads the sums of its block and writes the next ones into a spare set of buffers; then the two trade places.
    So a run that fails leaves the sums unchanged. Only `read` copies sums to the host.

    Args:
        session: session over the patched model.
        patch: the patch.
        shift: float64 array of shape (d,), the shift of the sums.
        blocks: numbers of its blocks; all begin with zero rows.
    """

    def __init__(self, session: Session, patch: Patch, shift: Array, *, blocks: Sequence[int]) -> None:
        self._session, self._patch, self._shift = session, patch, np.ascontiguousarray(shift.reshape(1, -1))
        self._sums = {block: to_device(session, contiguous_zeros(patch.shapes)) for block in blocks}
        self._spare = to_device(session, contiguous_zeros(patch.shapes))
        self._no_rows = to_device(session, [part.empty for part in patch.parts]) if patch.buffered else []

    def add(self, feeds: Sequence[Feed], block: int, *, keep: Sequence[str] = ()) -> list[DeviceTensor]:
        """Add the moments of some batches to a block, by one product of all their rows.

        Args:
            feeds: for each batch, the model's inputs and the patch's weights and targets; at most as many batches as
                the patch joins in one product.
            block: number of the block.
            keep: names of further outputs of the last batch to return.

        Returns:
            Those outputs, in the memory of the device.

        Raises:
            OutOfMemoryError: when the batches do not fit into memory; the sums are unchanged.
            ModelError: when the runtime fails on a batch; the sums are unchanged.
        """
        patch, sums, held_rows = self._patch, list(self._sums[block]), list[list[DeviceTensor]]()
        with translate_errors(self._session.name, "it fails on this batch"):
            for feed in feeds[:-1]:
                parts, sums = self._hold(feed, sums)
                held_rows.append(parts)
            binding = self._bind_inputs(feeds[-1], sums, held_rows)
            for name, tensor in zip(patch.accumulated, self._spare, strict=True):
                binding.bind_ortvalue_output(name, tensor)
            for name in keep:
                binding.bind_output(name, self._session.device.memory, self._session.number)
            self._session.run_bound(binding)
        self._sums[block], self._spare = self._spare, self._sums[block]
        return list(binding.get_outputs()[len(patch.accumulated) :]) if keep else []

    def _hold(self, feed: Feed, sums: list[DeviceTensor]) -> tuple[list[DeviceTensor], list[DeviceTensor]]:
        """Run a batch whose rows a later product adds. Return its parts of z, and the sums with its tallies."""
        patch, binding = self._patch, self._bind_inputs(feed, sums, None)
        tallies = patch.accumulated[-1:] if patch.has_tallies else ()
        for name in (*(part.name for part in patch.parts), *tallies):
            binding.bind_output(name, self._session.device.memory, self._session.number)
        self._session.run_bound(binding)
        outputs = binding.get_outputs()
        count = len(patch.parts)
        return outputs[:count], sums[: len(sums) - len(tallies)] + outputs[count:]

    def _bind_inputs(
        self, feed: Feed, sums: list[DeviceTensor], held_rows: Sequence[list[DeviceTensor]] | None
    ) -> ort.IOBinding | HostBinding:
        """Bind all inputs of a run; None for `held_rows` means that its own rows are held back."""
        patch, binding = self._patch, self._session.bind()
        arrays = dict(feed) | {patch.shift: self._shift}
        if patch.last is not None:
            arrays[patch.last] = np.array(held_rows is not None)
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        padded_rows = [*(held_rows or ()), *[self._no_rows] * len(patch.buffered)][: len(patch.buffered)]
        for names, tensors in zip((patch.accumulators, *patch.buffered), (sums, *padded_rows), strict=True):
            for name, tensor in zip(names, tensors, strict=True):
                binding.bind_ortvalue_input(name, tensor)
        return binding

    def read(self, block: int, span: slice = ALL) -> list[Array]:
        """The sums of a block on the host, in the order of the patch; valid until more is added to the block."""
        return [tensor.numpy() for tensor in self._sums[block][span]]

    def sum_blocks(self, span: slice = ALL) -> LaneSum:
        """Add up the sums of all its blocks, on the host."""
        start = time.perf_counter()
        blocks = [self.read(block, span) for block in self._sums]
        sums = [np.sum(arrays, axis=0) for arrays in zip(*blocks, strict=True)]
        return LaneSum(sums, time.perf_counter() - start)

    def release(self, block: int, span: slice = ALL) -> None:
        """Free the memory of sums of a block. No more can be added to it."""
        self._sums[block][span] = to_device(self._session, [np.empty(0) for _ in self._sums[block][span]])

    def restore(self, block: int, sums: Sequence[Array]) -> None:
        """Set the sums of a block to an earlier result of `read`."""
        self._sums[block] = to_device(self._session, [np.array(array) for array in sums])


class LanePool:
    """Lanes that run the same patched model at once, each with its own thread and its share of the blocks.

    Block g belongs to lane g mod S, and the number of a batch alone decides its block. So the sums are the same to the
    bit for any number of lanes, unless memory runs out on the way. A single lane works in the caller's thread.

    Args:
        sessions: session of each lane: one for each device, or the same one repeated for runs at once on one device.
        patch: the patch.
        shift: float64 array of shape (d,), the shift of the sums.
        blocks: number of blocks.

    Attributes:
        blocks: number of blocks.
    """

    def __init__(self, sessions: Sequence[Session], patch: Patch, shift: Array, *, blocks: int) -> None:
        S = min(len(sessions), blocks)
        self._accumulators = [
            Accumulator(session, patch, shift, blocks=range(lane, blocks, S))
            for lane, session in enumerate(sessions[:S])
        ]
        self._threads = [ThreadPoolExecutor(1, "onnxrich-lane") for _ in range(S)] if S > 1 else []
        self._pending: list[list[Future[None]]] = [[] for _ in range(S)]
        self.blocks = blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)

    def add(self, work: Callable[[Accumulator, int], None], block: int) -> None:
        """Submit work to the lane of a block; wait while enough work is pending in this lane.

        An exception of earlier work in this lane is raised here, or by `wait`.

        Args:
            work: called with the lane's accumulator and the number of the block.
            block: number of the block.
        """
        lane = block % len(self._accumulators)
        if not self._threads:
            work(self._accumulators[lane], block)
            return
        pending = self._pending[lane]
        if len(pending) >= BATCHES_AHEAD:
            pending.pop(0).result()
        pending.append(self._threads[lane].submit(work, self._accumulators[lane], block))

    def request_sums(self, span: slice = ALL) -> list[Future[LaneSum]]:
        """Ask each lane for its sums after the work submitted so far. With several lanes the caller need not wait."""
        if self._threads:
            return [
                thread.submit(accumulator.sum_blocks, span)
                for thread, accumulator in zip(self._threads, self._accumulators, strict=True)
            ]
        lane_sum: Future[LaneSum] = Future()
        lane_sum.set_result(self._accumulators[0].sum_blocks(span))
        return [lane_sum]

    def wait(self) -> None:
        """Wait until all submitted work is done."""
        for pending in self._pending:
            while pending:
                pending.pop(0).result()

    def read(self, span: slice = ALL) -> list[list[Array]]:
        """The sums of all blocks, or a span of each, on the host; valid until more is added."""
        self.wait()
        return [self._accumulator_of(block).read(block, span) for block in range(self.blocks)]

    def drain(self, span: slice = ALL) -> Iterator[list[Array]]:
        """Yield the sums of each block at the end, or a span of each, on the host, and release each behind it."""
        self.wait()
        for block in range(self.blocks):
            accumulator = self._accumulator_of(block)
            yield accumulator.read(block, span)
            accumulator.release(block, span)

    def restore(self, sums: Sequence[Sequence[Array]]) -> None:
        """Set the sums of all blocks to an earlier result of `read`."""
        for block, arrays in enumerate(sums):
            self._accumulator_of(block).restore(block, arrays)

    def _accumulator_of(self, block: int) -> Accumulator:
        return self._accumulators[block % len(self._accumulators)]
