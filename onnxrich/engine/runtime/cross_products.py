"""Sums of products of several models' features, which grow on their device batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxrich.engine.runtime.accumulator import DeviceTensor, contiguous_zeros, to_device
from onnxrich.engine.runtime.devices import Device
from onnxrich.engine.runtime.session import Session, translate_errors
from onnxrich.model.patch.cross_products import CrossProductModel
from onnxrich.moments.matrix import Array


class CrossProducts:
    """The sums Σ w (φᵃ − shift)(φᵇ − shift)ᵀ of each pair of models in blocks, computed by a small ONNX model.

    Args:
        model: the ONNX model that adds the products of one batch.
        shift: float64 array of shape (Σ p,), the shift of the sums.
        blocks: number of blocks.
        device: where the features lie.

    Attributes:
        blocks: number of blocks.
    """

    def __init__(self, model: CrossProductModel, shift: Array, *, blocks: int, device: Device) -> None:
        self._model, self._shift, self.blocks = model, np.ascontiguousarray(shift.reshape(1, -1)), blocks
        self._session = Session([model.data], folder=None, device=device, name="the products of features")
        *self._sums, self._spare = (to_device(self._session, contiguous_zeros(model.shapes)) for _ in range(blocks + 1))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the models of each pair."""
        return self._model.pairs

    @property
    def memory(self) -> int:
        """Bytes of all sums."""
        return 8 * (self.blocks + 1) * sum(math.prod(shape) for shape in self._model.shapes)

    def add(self, features: Sequence[DeviceTensor], weights: Sequence[Array], block: int) -> None:
        """Add the products of one batch to a block.

        Args:
            features: for each model its features of the batch, of shape (rows or more, p), on the device.
            weights: for each model the weight of each row, float64 array of shape (1, rows).
            block: number of the block.

        Raises:
            OutOfMemoryError: when the products do not fit into memory.
        """
        model, binding = self._model, self._session.inference_session.io_binding()
        with translate_errors(self._session.name, "they fail on this batch"):
            for name, array in ((model.shift, self._shift), *zip(model.weights, weights, strict=True)):
                binding.bind_cpu_input(name, array)
            inputs = (*zip(model.features, features, strict=True),)
            for name, tensor in (*inputs, *zip(model.accumulators, self._sums[block], strict=True)):
                binding.bind_ortvalue_input(name, tensor)
            for name, tensor in zip(model.accumulated, self._spare, strict=True):
                binding.bind_ortvalue_output(name, tensor)
            self._session.inference_session.run_with_iobinding(binding)
        self._sums[block], self._spare = self._spare, self._sums[block]

    def read(self, block: int) -> list[Array]:
        """The sums of a block on the host, pair by pair; valid until more is added."""
        return [tensor.numpy() for tensor in self._sums[block]]
