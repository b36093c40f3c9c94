"""The only part that knows ONNX Runtime: devices, sessions, and the blocks of moments that grow on them."""

from onnxrich.cores import usable_cores
from onnxrich.session.accumulator import Accumulator, Fleet
from onnxrich.session.devices import VERSION, Choice, choose, cuda_libraries_missing, cuda_missing
from onnxrich.session.engine import OutOfMemoryError, Session

__all__ = [
    "VERSION",
    "Accumulator",
    "Choice",
    "Fleet",
    "OutOfMemoryError",
    "Session",
    "choose",
    "cuda_libraries_missing",
    "cuda_missing",
    "usable_cores",
]
