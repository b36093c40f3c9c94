"""Operators that can be the last linear layer: what their features are, and the weight and bias that they apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.model.constants import STANDARD
from onnxrich.model.graph import Graph, attribute
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS


@dataclass(frozen=True)
class Axes:
    """How rows and features lie in a tensor.

    Attributes:
        rank: number of axes, None when not known.
        features: the axis that runs over features: from 0, or -1 for the last of an unknown rank.
        unit: whether the axes behind the second have size one.
    """

    rank: int | None
    features: int
    unit: bool = False

    @property
    def last(self) -> bool:
        """Whether features run along the last axis."""
        return self.features == -1 or (self.rank is not None and self.features == self.rank - 1)


@dataclass(frozen=True, eq=False)
class Affine:
    """f = W φ + b, read from the constants of the graph.

    Attributes:
        kind: operator(s), for people.
        features: name of the tensor that holds φ.
        features_axes: how φ lies in it.
        outputs_axes: how f lies in the operator's output.
        weight: float64 array of shape (C, p).
        bias: float64 array of shape (C,).
        dtype: name of the arithmetic, a key of `onnxrich.precision.EPS`.
        biased: whether the operator adds a bias of its own.
        flattened: whether all axes of φ behind the first are taken as features.
        quantization_step: relative size of the steps to which an operator on integers rounds its operands; else 0.
        features_scale: names of the scale and the zero point of quantised φ; empty for floats.
        outputs_scale: the same for quantised f.
    """

    kind: str
    features: str
    features_axes: Axes
    outputs_axes: Axes
    weight: Array
    bias: Array
    dtype: str
    biased: bool = False
    flattened: bool = False
    quantization_step: float = 0.0
    features_scale: tuple[str, ...] = ()
    outputs_scale: tuple[str, ...] = ()


# Eight bits round a number to 1/510 of its range, which is some per cent of its usual size.
EIGHT_BITS = 0.05

Reader = Callable[[Graph, NodeProto], "Affine | str | None"]


def read(graph: Graph, node: NodeProto) -> Affine | str | None:
    """The affine map of a node, the reason why it is none, or None for a node of another kind."""
    reader = _READERS.get(node.op_type) if node.domain in STANDARD else None
    return None if reader is None else reader(graph, node)


def follow(affine: Affine, node: NodeProto, constant: NDArray[Any], *, constant_first: bool) -> Affine | None:
    """The affine map with an Add, Sub, Mul or Div by a constant behind it; None where that isn't affine a row."""
    value = double(constant).reshape(-1)
    if value.size not in (1, len(affine.bias)) or (node.op_type == "Div" and constant_first):
        return None
    weight, bias = affine.weight, affine.bias
    if node.op_type in ("Mul", "Div"):
        scale = value if node.op_type == "Mul" else 1 / value
        weight, bias = weight * scale[:, None], bias * scale
    elif node.op_type == "Sub" and constant_first:
        weight, bias = -weight, value - bias
    else:
        bias = bias + (value if node.op_type == "Add" else -value)
    return replace(affine, kind=f"{affine.kind}+{node.op_type}", weight=weight, bias=bias)


def double(values: NDArray[Any]) -> Array:
    """Values of any numeric type as float64."""
    return np.asarray(values).astype(np.float64)


def arithmetic(values: NDArray[Any]) -> str:
    """The key of `EPS` for a head with such a weight."""
    return values.dtype.name if values.dtype.name in EPS else "float32"


def read_gemm(graph: Graph, node: NodeProto) -> Affine | str:
    """The affine map of α op(A) op(B) + β C."""
    left, right = (graph.is_constant(name) for name in node.input[:2])
    if left == right:
        return "its weight is computed from the input" if not left else "both its operands are constant"
    # f = α op(A) op(B): with the weight on the right rows run down A, with the weight on the left along B.
    raw = graph.constant(node.input[1 if right else 0])
    swapped = bool(attribute(node, "transB" if right else "transA", 0))
    weight = float(attribute(node, "alpha", 1.0)) * double(raw if swapped != left else raw.T)
    moved = bool(attribute(node, "transA" if right else "transB", 0))
    bias = np.zeros(len(weight))
    if len(node.input) > 2 and node.input[2]:
        if not graph.is_constant(node.input[2]):
            return "its bias is computed from the input"
        added = double(graph.constant(node.input[2]))
        if added.size not in (1, len(weight)):
            return f"its bias of shape {added.shape} differs from row to row"
        bias = bias + float(attribute(node, "beta", 1.0)) * added.reshape(-1)
    features = Axes(2, 1 if right != moved else 0)
    data = node.input[0 if right else 1]
    # Some exporters write a bias of zeros, and add the real one behind.
    biased = bool(bias.any())
    return Affine("Gemm", data, features, Axes(2, 1 if right else 0), weight, bias, arithmetic(raw), biased)


def read_matmul(graph: Graph, node: NodeProto, *, swapped: bool = False) -> Affine | str:
    """The affine map of a product; `swapped` where the weight on the right is taken transposed."""
    left, right = (graph.is_constant(name) for name in node.input[:2])
    if left == right:
        return "both its operands are computed from the input" if not left else "both its operands are constant"
    raw = graph.constant(node.input[1 if right else 0])
    raw = raw.reshape(raw.shape[-2:]) if raw.ndim > 2 and raw.size == np.prod(raw.shape[-2:]) else raw
    if raw.ndim != 2:
        return f"its weight has shape {raw.shape}"
    data = node.input[0 if right else 1]
    rank = graph.rank(data)
    if left and (rank is None or rank < 2):
        return "its features have an unknown number of axes"
    axes = Axes(rank, -1 if rank is None else rank - 1) if right or rank is None else Axes(rank, rank - 2)
    weight = double(raw.T if right != swapped else raw)
    return Affine("MatMul", data, axes, axes, weight, np.zeros(len(weight)), arithmetic(raw))


def read_conv(graph: Graph, node: NodeProto) -> Affine | str:
    """The affine map of a convolution that sees one position, or all of them at once."""
    if not all(graph.is_constant(name) for name in node.input[1:] if name):
        return "its weight is computed from the input"
    raw = graph.constant(node.input[1])
    one = all(size == 1 for size in raw.shape[2:])
    strided = any(step != 1 for step in attribute(node, "strides", []))
    # With a stride of one, keeping the size of the input takes no padding for a kernel of one.
    automatic = attribute(node, "auto_pad", b"NOTSET") not in (b"", b"NOTSET", b"VALID")
    padded = any(attribute(node, "pads", [])) or (not one and automatic)
    if attribute(node, "group", 1) != 1 or padded or (one and strided):
        return "it is a grouped, padded or strided convolution"
    if not one and tuple(graph.shape(node.input[0])[2:]) != raw.shape[2:]:
        return f"its kernel is {'×'.join(map(str, raw.shape[2:]))}, neither 1×1 nor as large as its input"
    biased = len(node.input) > 2 and bool(node.input[2])
    bias = double(graph.constant(node.input[2])) if biased else np.zeros(len(raw))
    weight, axes = double(raw.reshape(len(raw), -1)), Axes(raw.ndim, 1)
    outer = axes if one else replace(axes, unit=True)
    return Affine("Conv", node.input[0], axes, outer, weight, bias, arithmetic(raw), biased, flattened=not one)


def _einsum(graph: Graph, node: NodeProto) -> Affine | str:
    equation = attribute(node, "equation", b"").decode("ascii", "replace").replace(" ", "")
    constant = [graph.is_constant(name) for name in node.input]
    terms, arrow, result = equation.partition("->")
    order = terms.split(",")
    if len(constant) != 2 or constant[0] == constant[1] or len(order) != 2:
        return "it is no product of features and a constant weight"
    if not arrow:  # what occurs once, in the order of the alphabet
        letters = [letter for letter in terms if letter.isalpha()]
        result = "..." * ("." in terms) + "".join(sorted(letter for letter in letters if letters.count(letter) == 1))
    data, weight = (order[0], order[1]) if constant[1] else (order[1], order[0])
    summed, made = set(data) & set(weight) - set(result), set(weight) & set(result) - set(data)
    rest = [label for label in data if label not in summed]
    if len(weight) != 2 or len(summed) != 1 or len(made) != 1 or rest != [c for c in result if c not in made]:
        return f"its equation {equation} is no linear layer"
    k, c = summed.pop(), made.pop()
    raw = graph.constant(node.input[1 if constant[1] else 0])
    table = double(raw if weight[0] == c else raw.T)
    inner, outer = (_axes(labels, label) for labels, label in ((data, k), (result, c)))
    source = node.input[0 if constant[1] else 1]
    return Affine("Einsum", source, inner, outer, table, np.zeros(len(table)), arithmetic(raw))


def _axes(labels: str, label: str) -> Axes:
    """How one label of an Einsum term lies; with an ellipsis the rank is open, and only the last axis can be named."""
    if "." in labels:
        return Axes(None, -1) if labels.endswith(label) else Axes(None, -2)
    return Axes(len(labels), labels.index(label))


_READERS: dict[str, Reader] = {"Gemm": read_gemm, "MatMul": read_matmul, "Conv": read_conv, "Einsum": _einsum}
