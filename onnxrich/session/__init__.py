"""The only part that knows ONNX Runtime: devices, sessions, and the blocks of moments that grow on them."""

from onnxrich.cores import usable_cores
from onnxrich.session.accumulator import AHEAD, Accumulator, Fleet, Held, Total
from onnxrich.session.devices import CPU, VERSION, Choice, choose, cuda_libraries_missing, cuda_missing
from onnxrich.session.engine import OutOfMemoryError, Session
from onnxrich.session.products import Products

__all__ = [
    "AHEAD",
    "CPU",
    "VERSION",
    "Accumulator",
    "Choice",
    "Fleet",
    "Held",
    "OutOfMemoryError",
    "Products",
    "Session",
    "Total",
    "choose",
    "cuda_libraries_missing",
    "cuda_missing",
    "usable_cores",
]
