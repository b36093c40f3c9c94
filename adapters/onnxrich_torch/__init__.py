"""PyTorch for onnxrich: modules and exported programs, data loaders, tensors.

- Inputs of the ONNX model have the names of `forward`'s parameters.
- Items of a loader are (inputs…, labels), (inputs…), a tensor, or a mapping by parameter name.
- Modules are exported in evaluation mode. Modes, attributes, buffers and random states are put back.
- Labels of tokens are shifted where the module's own loss shifts them.
- A module with weights in bfloat16 is exported as a copy in float32.
- Importing this package imports no PyTorch.
"""

from onnxrich_torch.adapter import batches, callback, forward, is_native, load, notices, to_onnx, weights

__all__ = ["batches", "callback", "forward", "is_native", "load", "notices", "to_onnx", "weights"]
