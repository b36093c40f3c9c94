"""Norm of a model's parameters, ‖θ‖², from its initializers; quantised weights count as dequantised."""

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
# Integers of 32 bits and more are shapes and indices. The values of others are unknown without their scale.
_KNOWN = _FLOATS | {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}
# The running mean and variance are no parameters.
_STATISTICS = {"BatchNormalization": (3, 4)}
# Operators on quantised weights: the input of the weight, which its scale and zero point follow.
_QUANTIZED = {"DequantizeLinear": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
# Elements squared at a time.
_CHUNK = 1 << 20


def squared_norm(model: Model, *, external: bool) -> float | None:
    """Compute Σ θ² over all parameters of the main graph; None when a value can't be read.

    Floats count as they are, except the statistics of batch normalisation and the scales of quantised numbers.
    Quantised weights count as dequantised. A weight that several operators share counts once.

    Args:
        model: the model.
        external: whether to read all weights outside the file; if not, a model with such weights gives None.
    """
    try:
        return _squared_norm(model, external=external)
    except ModelError:  # a damaged constant, or one much larger than the file
        return None


def _squared_norm(model: Model, *, external: bool) -> float | None:
    graph = Graph(model)
    weights = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    if not external and any(map(is_external, weights.values())):
        return None
    counted: set[str] = set()
    total = 0.0
    for node in model.proto.graph.node:
        statistics = _STATISTICS.get(node.op_type, ())
        counted.update(node.input[index] for index in statistics if index < len(node.input))
        index = _QUANTIZED.get(node.op_type)
        if index is not None and node.input[index] in weights and node.input[index] not in counted:
            total += _sum_of_squares(_dequantized(graph, node, index))
        if index is not None:
            counted.update(node.input[index : index + 3])
    rest = [tensor for name, tensor in weights.items() if name not in counted]
    if any(tensor.data_type not in _KNOWN for tensor in rest):
        return None
    return total + sum(_sum_of_squares(graph.constant(t.name)) for t in rest if t.data_type in _FLOATS)


def _dequantized(graph: Graph, node: NodeProto, index: int) -> NDArray[Any]:
    if node.op_type == "DequantizeLinear":
        return graph.constant(node.output[0])
    values, scale, zero = (graph.constant(name) for name in node.input[index : index + 3])
    # One scale for each output channel, on the first axis of convolutions and transposed weights, else on the last.
    channels_first = node.op_type == "QLinearConv" or attribute(node, "transB", 0)
    return dequantize(values, scale, zero, 0 if channels_first else values.ndim - 1)


def _sum_of_squares(values: NDArray[Any]) -> float:
    flat = values.reshape(-1)
    chunks = (flat[start : start + _CHUNK].astype(np.float64) for start in range(0, flat.size, _CHUNK))
    return float(sum(chunk @ chunk for chunk in chunks))
