"""JAX for onnxrich: flax (nnx and linen), equinox, and plain functions with their parameters.

- A model is an nnx module, an equinox module, or a pair: (linen module, variables) or (function, parameters), where
  the function is called as function(parameters, x).
- equinox modules take one row, by the convention of their library, and are mapped over the batch; so is a pair of an
  equinox module and its state. Write a module that takes batches as a pair (lambda model, x: model(x), model).
- Everything runs in inference mode: nnx by `eval()`, equinox by `inference_mode`; parameters of a linen module's
  `__call__` named train or training are False, deterministic is True.
- Inputs of the ONNX model have the names of the function's parameters; weights have their path, such as conv/kernel.
- JAX models declare no shapes, so data are required.
- Importing this package imports no JAX.
"""

from onnxrich_jax.adapter import batches, callback, forward, is_native, load, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "to_onnx", "weights"]
