"""Inputs and outputs of a run in arrays on the host, for models that take strings: the runtime binds numbers alone."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray


class HostBinding:
    """Binds inputs and outputs as `onnxruntime.IOBinding` does, and copies them at each run.

    Args:
        session: session of ONNX Runtime on the CPU.
    """

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._feed: dict[str, NDArray[Any]] = {}
        self._targets: dict[str, ort.OrtValue | None] = {}
        self._outputs: list[ort.OrtValue] = []

    def bind_cpu_input(self, name: str, array: NDArray[Any]) -> None:
        """Bind an array."""
        self._feed[name] = array

    def bind_ortvalue_input(self, name: str, tensor: ort.OrtValue) -> None:
        """Bind a tensor."""
        self._feed[name] = tensor.numpy()

    def bind_ortvalue_output(self, name: str, tensor: ort.OrtValue) -> None:
        """Bind an output to a tensor, which the run writes."""
        self._targets[name] = tensor

    def bind_output(self, name: str, *_: object) -> None:
        """Bind an output to a new tensor."""
        self._targets[name] = None

    def run(self) -> None:
        """Run once."""
        arrays = self._session.run(list(self._targets), self._feed)
        self._outputs = []
        for tensor, array in zip(self._targets.values(), arrays, strict=True):
            if tensor is not None:
                tensor.update_inplace(array)
            self._outputs.append(ort.OrtValue.ortvalue_from_numpy(array) if tensor is None else tensor)

    def get_outputs(self) -> list[ort.OrtValue]:
        """The outputs of the run, in the order in which they were bound."""
        return self._outputs
