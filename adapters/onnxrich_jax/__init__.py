"""jax for onnxrich."""

from onnxrich_jax.adapter import (
    batches,
    callback,
    forward,
    is_native,
    load,
    to_onnx,
    weights,
)

__all__ = ["batches", "callback", "forward", "is_native", "load", "to_onnx", "weights"]
