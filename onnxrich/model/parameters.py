"""The size of a model's parameters, ‖θ‖², from its initializers, quantised ones in the values that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxrich.errors import ModelError
from onnxrich.model.constants import dequantize
from onnxrich.model.file import Model, is_external
from onnxrich.model.graph import Graph, attribute

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# Integers of 32 bits and more are shapes and indices; of others nobody knows the values without their scale.
_KNOWN = _FLOATS | {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}
# Mean and variance of the batches seen in training are no parameters.
_STATISTICS = {"BatchNormalization": (3, 4)}
# Operators on quantised weights: where the weight is, and behind it its scale and zero point.
_QUANTIZED = {"DequantizeLinear": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
# Elements that are squared at a time.
_CHUNK = 1 << 20


def squared_norm(model: Model, *, external: bool) -> float | None:
    """Σ θ² over all parameters of the main graph; None when it can't be had.

    Floats count as they are, but for the statistics of batch normalisation and the scales of quantised numbers;
    quantised weights count as what they stand for. A weight that several operators share counts once.

    Args:
        model: the model.
        external: whether to read weights that lie outside the file, which takes as long as reading all of them does.
            Without it a model that has such weights gives None.
    """
    try:
        return _squared_norm(model, external=external)
    except ModelError:  # a constant that is damaged, or much larger than the file
        return None


def _squared_norm(model: Model, *, external: bool) -> float | None:
    graph = Graph(model)
    weights = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    if not external and any(map(is_external, weights.values())):
        return None
    done: set[str] = set()
    total = 0.0
    for node in model.proto.graph.node:
        done.update(node.input[place] for place in _STATISTICS.get(node.op_type, ()) if place < len(node.input))
        place = _QUANTIZED.get(node.op_type)
        if place is not None and node.input[place] in weights and node.input[place] not in done:
            total += _sum_of_squares(_dequantized(graph, node, place))
        if place is not None:
            done.update(node.input[place : place + 3])
    rest = [tensor for name, tensor in weights.items() if name not in done]
    if any(tensor.data_type not in _KNOWN for tensor in rest):
        return None
    return total + sum(_sum_of_squares(graph.constant(t.name)) for t in rest if t.data_type in _FLOATS)


def _dequantized(graph: Graph, node: NodeProto, place: int) -> NDArray[Any]:
    if node.op_type == "DequantizeLinear":
        return graph.constant(node.output[0])
    values, scale, zero = (graph.constant(name) for name in node.input[place : place + 3])
    # One scale an output channel: the first axis of convolutions and transposed weights, else the last.
    first = node.op_type == "QLinearConv" or attribute(node, "transB", 0)
    return dequantize(values, scale, zero, 0 if first else values.ndim - 1)


def _sum_of_squares(values: NDArray[Any]) -> float:
    flat = values.reshape(-1)
    chunks = (flat[start : start + _CHUNK].astype(np.float64) for start in range(0, flat.size, _CHUNK))
    return float(sum(chunk @ chunk for chunk in chunks))
