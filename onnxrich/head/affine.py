"""Operators that can be the last linear layer: what their features are, and the weight and bias that they apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.head.graph import Graph, attribute
from onnxrich.moments import EPS, Array


@dataclass(frozen=True, eq=False)
class Affine:
    """f = W φ + b, read from the constants of the graph.

    Attributes:
        kind: operator(s), for people.
        features: name of the tensor that holds φ.
        axis: the axis of φ and of the operator's output that runs over features: 1 for convolutions, -1 else.
        rank: rank of those tensors, None when the operator takes several.
        weight: float64 array of shape (C, p).
        bias: float64 array of shape (C,).
        dtype: name of the arithmetic, a key of `onnxrich.moments.EPS`.
    """

    kind: str
    features: str
    axis: int
    rank: int | None
    weight: Array
    bias: Array
    dtype: str


def read(graph: Graph, node: NodeProto) -> Affine | str:
    """The affine map of a node with a constant weight, or the reason why it is none."""
    reader = READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return f"{node.op_type} is no linear layer" if reader is None else reader(graph, node)


def is_linear(node: NodeProto) -> bool:
    """Whether the operator is of a kind that can be a linear layer at all."""
    return node.domain in ("", "ai.onnx") and node.op_type in READERS


def follow(affine: Affine, node: NodeProto, constant: NDArray[Any], *, constant_first: bool) -> Affine | str:
    """The affine map with a further Add, Sub, Mul or Div by a constant behind it, or the reason why it is none."""
    value = np.asarray(constant, dtype=np.float64).reshape(-1)
    if value.size not in (1, len(affine.bias)):
        return f"{node.op_type} by a constant of shape {np.shape(constant)}, not by one value an output"
    if node.op_type == "Div" and constant_first:
        return "a constant divided by the outputs"
    if node.op_type in ("Mul", "Div"):
        scale = value if node.op_type == "Mul" else 1 / value
        weight, bias = affine.weight * scale[:, None], affine.bias * scale
    elif node.op_type == "Sub" and constant_first:
        weight, bias = -affine.weight, value - affine.bias
    else:
        weight, bias = affine.weight, affine.bias + (value if node.op_type == "Add" else -value)
    return replace(affine, kind=f"{affine.kind}+{node.op_type}", weight=weight, bias=bias)


def _gemm(graph: Graph, node: NodeProto) -> Affine | str:
    if not graph.is_constant(node.input[1]):
        return "its weight is computed from the input"
    if attribute(node, "transA", 0):
        return "its features are transposed (transA = 1)"
    raw = graph.constant(node.input[1])
    weight = float(attribute(node, "alpha", 1.0)) * _double(raw if attribute(node, "transB", 0) else raw.T)
    bias = np.zeros(len(weight))
    if len(node.input) > 2 and node.input[2]:
        if not graph.is_constant(node.input[2]):
            return "its bias is computed from the input"
        added = _double(graph.constant(node.input[2]))
        if added.size not in (1, len(weight)):
            return f"its bias of shape {added.shape} differs from row to row"
        bias = bias + float(attribute(node, "beta", 1.0)) * added.reshape(-1)
    return Affine("Gemm", node.input[0], -1, 2, weight, bias, _dtype(raw))


def _matmul(graph: Graph, node: NodeProto) -> Affine | str:
    if not graph.is_constant(node.input[1]):
        return "its right operand is computed from the input"
    raw = graph.constant(node.input[1])
    if raw.ndim != 2:
        return f"its right operand has shape {raw.shape}"
    return Affine("MatMul", node.input[0], -1, None, _double(raw.T), np.zeros(raw.shape[1]), _dtype(raw))


def _conv(graph: Graph, node: NodeProto) -> Affine | str:
    if not all(graph.is_constant(name) for name in node.input[1:] if name):
        return "its weight is computed from the input"
    raw = graph.constant(node.input[1])
    if raw.ndim < 3 or any(size != 1 for size in raw.shape[2:]):
        return f"its kernel is {'×'.join(map(str, raw.shape[2:]))}, not 1×1"
    if attribute(node, "group", 1) != 1:
        return "it is a grouped convolution"
    moves = (*attribute(node, "pads", []), *(step - 1 for step in attribute(node, "strides", [])))
    if any(moves) or attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return "it is padded or strided"
    has_bias = len(node.input) > 2 and node.input[2]
    bias = _double(graph.constant(node.input[2])) if has_bias else np.zeros(len(raw))
    return Affine("Conv", node.input[0], 1, raw.ndim, _double(raw.reshape(raw.shape[:2])), bias, _dtype(raw))


READERS: dict[str, Callable[[Graph, NodeProto], Affine | str]] = {"Gemm": _gemm, "MatMul": _matmul, "Conv": _conv}


def _double(values: NDArray[Any]) -> Array:
    return np.asarray(values).astype(np.float64)


def _dtype(values: NDArray[Any]) -> str:
    return values.dtype.name if values.dtype.name in EPS else "float32"
