"""Failures of the runtime as errors of onnxrich."""

from __future__ import annotations

import pytest
from zoo_text import refused

from onnxrich.engine.runtime import OutOfMemoryError
from onnxrich.engine.runtime.session import translate_errors
from onnxrich.errors import ModelError


@pytest.mark.parametrize(
    "text",
    [
        "Failed to allocate memory for requested buffer of size 4096",
        "CUDA failure 2: out of memory ; GPU=0",
        "std::bad_alloc",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "CUDNN failure 4: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "Available memory of 1024 is smaller than requested bytes of 4096",
    ],
)
def test_memory_that_runs_out(text: str) -> None:
    """What the runtime says of it asks for a smaller batch, but where none would help."""
    with refused(OutOfMemoryError, "m.onnx: memory ran out", "room for a batch"), translate_errors("m.onnx", ""):
        raise RuntimeError(text)
    memory_remedy = ("memory for the model", "Free some.")
    with (
        refused(ModelError, "m.onnx: memory ran out", "Free some."),
        translate_errors("m.onnx", "", memory_remedy=memory_remedy),
    ):
        raise RuntimeError(text)
