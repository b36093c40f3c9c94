"""Weights as inputs of an export, which become initializers under the framework's names.

An exporter that sees weights as constants folds, transposes and merges them, and drops a bias that is zero. So the
adapters of TensorFlow and JAX export `forward(inputs, weights)`, a function of both, and here the weights become
initializers. A recorder can then swap weights by their names alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, numpy_helper

BATCH = "batch"


def bind_weights(model: ModelProto, weights: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> ModelProto:
    """Turn the inputs with the names of weights into initializers.

    Args:
        model: a model with inputs for the weights that it uses; it is left unchanged.
        weights: arrays by name.
        outputs: names of the model's outputs in their final order.

    Returns:
        A copy of the model without unused initializers, the first axis of its inputs named "batch".
    """
    bound = ModelProto()
    bound.CopyFrom(model)
    graph = bound.graph
    used = set(_used_names(graph))
    names = [value.name for value in graph.input if value.name in weights and value.name in used]
    _replace(graph.input, [value for value in graph.input if value.name not in weights])
    _replace(graph.output, sorted(graph.output, key=lambda value: outputs.index(value.name)))
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(weights[name]), name) for name in names)
    for value in graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes and not axes[0].HasField("dim_value"):
            axes[0].dim_param = BATCH
    return bound


def _used_names(graph: GraphProto) -> Iterator[str]:
    """Names that a graph returns, and that its nodes read, also in the bodies of loops and branches."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _used_names(body)


def _replace(field: Any, values: Sequence[Any]) -> None:
    """Replace the content of a repeated field by values that may be its own."""
    content = list(values)
    del field[:]
    field.extend(content)
