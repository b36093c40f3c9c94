"""Weights as arguments: how exports from TensorFlow and JAX keep every weight whole, under its own name.

An exporter that sees weights as constants folds, transposes and merges them, and drops a bias that is zero. So these
frameworks export `forward(inputs, weights)`, a function of both, and the weights become initializers here. What swaps
weights later needs nothing but their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

BATCH = "batch"


def bound(model: ModelProto, weights: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> ModelProto:
    """A copy of an exported model with the inputs that bear names of weights as initializers.

    Args:
        model: has inputs for the weights that it uses.
        weights: arrays by name.
        outputs: names of the model's outputs in the order to have them in.

    Returns:
        The model without unused initializers, the first axis of its inputs named "batch".
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    used = set(_used(graph))
    ours = [value.name for value in graph.input if value.name in weights and value.name in used]
    _replace(graph.input, [value for value in graph.input if value.name not in weights])
    _replace(graph.output, sorted(graph.output, key=lambda value: outputs.index(value.name)))
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    for name in ours:
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(weights[name]), name))
    for value in graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes and not axes[0].HasField("dim_value"):
            axes[0].dim_param = BATCH
    return made


def _used(graph: GraphProto) -> Iterator[str]:
    """What nodes read, in the bodies of loops and branches as well, and what the graph returns."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _used(body)


def _replace(field: Any, values: Sequence[Any]) -> None:
    kept = list(values)
    del field[:]
    field.extend(kept)
