"""Sums of products of several models' features, which grow on their device, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxrich.engine.runtime.accumulator import DeviceTensor, placed, zeros
from onnxrich.engine.runtime.devices import Choice
from onnxrich.engine.runtime.session import Session, native_errors
from onnxrich.model.patch.cross_products import CrossProductModel
from onnxrich.moments.matrix import Array


class CrossProducts:
    """The sums of each pair, in blocks, by a small model of our own.

    Args:
        cross: the model.
        shift: float64 array of shape (Σ p,) that the sums run around.
        blocks: number of blocks.
        device: where the features lie.
    """

    def __init__(self, cross: CrossProductModel, shift: Array, *, blocks: int, device: Choice) -> None:
        self._cross, self._shift, self.blocks = cross, np.ascontiguousarray(shift.reshape(1, -1)), blocks
        self._session = Session([cross.data], folder=None, device=device, name="the products of features")
        *self._sums, self._spare = (placed(self._session, zeros(cross.shapes)) for _ in range(blocks + 1))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the models of each pair."""
        return self._cross.pairs

    @property
    def memory(self) -> int:
        """Bytes of all sums."""
        return 8 * (self.blocks + 1) * sum(math.prod(shape) for shape in self._cross.shapes)

    def add(self, features: Sequence[DeviceTensor], weights: Sequence[Array], block: int) -> None:
        """Add the products of one batch to a block.

        Args:
            features: what each model's patch gave for it, (rows or more, p), where it lies.
            weights: what each row counts, float64 of shape (1, rows), of each model.
            block: number of the block.

        Raises:
            OutOfMemoryError: when it does not fit into memory.
        """
        cross, binding = self._cross, self._session.live.io_binding()
        with native_errors(self._session.name, "they fail on this batch"):
            for name, array in ((cross.shift, self._shift), *zip(cross.weights, weights, strict=True)):
                binding.bind_cpu_input(name, array)
            held = (*zip(cross.features, features, strict=True),)
            for name, value in (*held, *zip(cross.accumulators, self._sums[block], strict=True)):
                binding.bind_ortvalue_input(name, value)
            for name, value in zip(cross.accumulated, self._spare, strict=True):
                binding.bind_ortvalue_output(name, value)
            self._session.live.run_with_iobinding(binding)
        self._sums[block], self._spare = self._spare, self._sums[block]

    def read(self, block: int) -> list[Array]:
        """The sums of a block so far, on the host, pair by pair; valid until more is added."""
        return [value.numpy() for value in self._sums[block]]
