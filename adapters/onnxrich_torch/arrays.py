"""Tensors as NumPy's arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_array(value: Any) -> NDArray[Any]:
    """Convert a tensor or an array-like value to NumPy; bfloat16 becomes the type of that name of ml_dtypes."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    import torch

    tensor = value.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


def to_input(value: Any) -> NDArray[Any]:
    """Convert a value that a model takes; bfloat16 becomes float32, for onnxrich feeds no other."""
    array = to_array(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def to_tensors(module: Any, item: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """The arrays of an item as tensors on the module's device; reals in bfloat16 where all its weights are."""
    import torch

    device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in item.items()}
    types = {tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()}
    if types != {torch.bfloat16}:
        return tensors
    return {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def has_bfloat16(module: Any) -> bool:
    """Whether a parameter or buffer of a module is in bfloat16."""
    import torch

    return any(tensor.dtype == torch.bfloat16 for tensor in (*module.parameters(), *module.buffers()))
