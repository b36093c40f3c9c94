"""Give an exported model new weights, without exporting it again."""

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
    """Where the values of an initializer come from: a weight of the framework, as it is or transposed."""

    weight: str
    transposed: bool

    def values(self, weights: Weights) -> NDArray[Any]:
        """The values now."""
        array = weights[self.weight]
        return array.T if self.transposed else array


def weight_sources(proto: ModelProto, weights: Weights) -> dict[str, WeightSource]:
    """The initializers that hold weights, by name; what is computed from several weights is not among them.

    1. An initializer with the name and the values of a weight is that weight.
    2. Else one with the values of a weight, or of its transpose, is the first such weight. Two weights may have the
       same values by chance, as biases have that begin at zero: whoever swaps them has to compare what the model gives.

    Args:
        proto: the exported model.
        weights: the framework's, of the moment of the export.
    """
    found: dict[str, WeightSource] = {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            continue
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind != "f":
            continue
        named = weights.get(tensor.name)
        ordered = {tensor.name: named, **weights} if named is not None else weights  # Case 1 comes before case 2
        place = next((place for name, value in ordered.items() if (place := _place(name, value, array))), None)
        if place is not None:
            found[tensor.name] = place
    return found


def _place(name: str, value: NDArray[Any], array: NDArray[Any]) -> WeightSource | None:
    if value.shape == array.shape and np.array_equal(value, array):
        return WeightSource(name, transposed=False)
    if value.ndim == 2 and value.T.shape == array.shape and np.array_equal(value.T, array):
        return WeightSource(name, transposed=True)
    return None


def swap_weights(proto: ModelProto, where: Mapping[str, WeightSource], weights: Weights) -> None:
    """Put the weights of this moment into a model's initializers."""
    for tensor in proto.graph.initializer:
        if tensor.name in where:
            values = where[tensor.name].values(weights).astype(numpy_helper.to_array(tensor).dtype, copy=False)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
