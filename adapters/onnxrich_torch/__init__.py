"""PyTorch for onnxrich: modules and exported programs, data loaders, tensors.

- Inputs of the ONNX model have the names of `forward`'s parameters.
- Items of a loader are (inputs…, labels), (inputs…), a tensor, or a mapping by parameter name.
- Modules are exported in evaluation mode. Their modes and PyTorch's random numbers are restored.
- Importing this package imports no PyTorch.
"""

from onnxrich_torch.adapter import batches, callback, forward, is_native, load, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "to_onnx", "weights"]
