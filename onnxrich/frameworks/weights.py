"""Replacement of the weights of an exported model, without another export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

Weights = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class WeightSource:
    """The weight of the framework that an initializer holds.

    Attributes:
        weight: name of the weight.
        transposed: whether the initializer holds its transpose.
    """

    weight: str
    transposed: bool

    def values(self, weights: Weights) -> NDArray[Any]:
        """The present values, in the order of the initializer."""
        array = weights[self.weight]
        return array.T if self.transposed else array


def weight_sources(model: ModelProto, weights: Weights) -> dict[str, WeightSource]:
    """Find the initializers that hold weights; what is computed from several weights is not among them.

    1. An initializer with the name and the values of a weight is that weight.
    2. Else an initializer with the values of a weight, or of its transpose, is the first such weight. Two weights may
       have the same values by chance, as biases have that begin at zero: after each swap, compare the model's outputs
       with the framework's.

    Args:
        model: the exported model.
        weights: values of the framework's weights at the export.

    Returns:
        Sources by the name of the initializer.
    """
    sources: dict[str, WeightSource] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            continue
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind != "f":
            continue
        namesake = weights.get(tensor.name)
        candidates = {tensor.name: namesake, **weights} if namesake is not None else weights  # Case 1 before case 2
        matches = (_match(name, weight, array) for name, weight in candidates.items())
        source = next((source for source in matches if source is not None), None)
        if source is not None:
            sources[tensor.name] = source
    return sources


def _match(name: str, weight: NDArray[Any], array: NDArray[Any]) -> WeightSource | None:
    """The source of an array where it holds this weight."""
    if weight.shape == array.shape and np.array_equal(weight, array):
        return WeightSource(name, transposed=False)
    if weight.ndim == 2 and weight.T.shape == array.shape and np.array_equal(weight.T, array):
        return WeightSource(name, transposed=True)
    return None


def swap_weights(model: ModelProto, sources: Mapping[str, WeightSource], weights: Weights) -> None:
    """Write the present values of weights into the initializers of a model, in the types of these."""
    for tensor in model.graph.initializer:
        if tensor.name in sources:
            dtype = numpy_helper.to_array(tensor).dtype
            values = sources[tensor.name].values(weights).astype(dtype, copy=False)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
