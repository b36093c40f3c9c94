"""The only part that knows ONNX Runtime: devices, sessions, and the blocks of moments that grow on them."""

from onnxrich._utils.threads import usable_cores
from onnxrich.engine.runtime.accumulator import AHEAD, Accumulator, DeviceTensor, LanePool, LaneSum
from onnxrich.engine.runtime.cross_products import CrossProducts
from onnxrich.engine.runtime.devices import CPU, VERSION, Choice, choose, cuda_libraries_missing, cuda_missing
from onnxrich.engine.runtime.session import OutOfMemoryError, Session

__all__ = [
    "AHEAD",
    "CPU",
    "VERSION",
    "Accumulator",
    "Choice",
    "CrossProducts",
    "DeviceTensor",
    "LanePool",
    "LaneSum",
    "OutOfMemoryError",
    "Session",
    "choose",
    "cuda_libraries_missing",
    "cuda_missing",
    "usable_cores",
]
