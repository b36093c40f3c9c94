"""ONNX Runtime behind four concepts: devices, sessions, accumulators of moments, and cross products of features.

No other room imports onnxruntime. `choose_device` gives the `Device`, a `Session` runs a patched model on it, a
`LanePool` of `Accumulator`s keeps the sums of a pass, `CrossProducts` those of several models.
"""

from onnxrich._utils.threads import usable_cores
from onnxrich.engine.runtime.accumulator import BATCHES_AHEAD, Accumulator, DeviceTensor, LanePool, LaneSum
from onnxrich.engine.runtime.cross_products import CrossProducts
from onnxrich.engine.runtime.devices import (
    CPU,
    VERSION,
    Device,
    choose_device,
    cuda_missing,
    missing_cuda_libraries,
    parse_provider,
)
from onnxrich.engine.runtime.session import OutOfMemoryError, RunError, Session

__all__ = [
    "BATCHES_AHEAD",
    "CPU",
    "VERSION",
    "Accumulator",
    "CrossProducts",
    "Device",
    "DeviceTensor",
    "LanePool",
    "LaneSum",
    "OutOfMemoryError",
    "RunError",
    "Session",
    "choose_device",
    "cuda_missing",
    "missing_cuda_libraries",
    "parse_provider",
    "usable_cores",
]
