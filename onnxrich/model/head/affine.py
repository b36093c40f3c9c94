"""Affine operators: the weight and bias that a last linear layer applies, read from the constants of the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxrich.model.graph import Graph, attribute
from onnxrich.model.validity import STANDARD
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS


@dataclass(frozen=True)
class Axes:
    """How rows and features lie in a tensor.

    Attributes:
        rank: number of axes; None when it is not known.
        features: the axis of features, from 0; or -1 for the last axis of an unknown rank.
        unit: whether the axes behind the second have size one.
    """

    rank: int | None
    features: int
    unit: bool = False

    @property
    def last(self) -> bool:
        """Whether features run along the last axis."""
        return self.features == -1 or (self.rank is not None and self.features == self.rank - 1)

    @classmethod
    def features_last(cls, rank: int | None) -> Axes:
        """Axes of a tensor whose last axis holds features."""
        return cls(rank, -1 if rank is None else rank - 1)


@dataclass(frozen=True, eq=False)
class Affine:
    """f = W φ + b, read from the constants of the graph.

    Attributes:
        kind: operators, for people.
        features: name of the tensor of φ.
        features_axes: how φ lies in it.
        outputs_axes: how f lies in the operator's output.
        weight: float64 array of shape (C, p).
        bias: float64 array of shape (C,).
        dtype: name of the arithmetic, a key of `onnxrich.moments.precision.EPS`.
        has_bias: whether the operators add a bias.
        flattened: whether all axes of φ behind the first hold features.
        quantization_step: relative size of the steps to which an operator on integers rounds its operands; else 0.
        features_scale: names of the scale and the zero point of quantised φ; empty for floats.
        outputs_scale: the same for quantised f.
        outputs_steps: operators to apply to f, which has no axis of features, to give it one.
    """

    kind: str
    features: str
    features_axes: Axes
    outputs_axes: Axes
    weight: Array
    bias: Array
    dtype: str
    has_bias: bool = False
    flattened: bool = False
    quantization_step: float = 0.0
    features_scale: tuple[str, ...] = ()
    outputs_scale: tuple[str, ...] = ()
    outputs_steps: tuple[NodeProto, ...] = ()


# Eight bits round a number to 1/510 of its range, which is a few per cent of its usual size.
EIGHT_BITS = 0.05

# Reads the affine map of a node; returns the reason when the node has none, None for a node of another kind.
Reader = Callable[[Graph, NodeProto], "Affine | str | None"]


def read_affine(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Read the affine map of a node; returns the reason when it has none, None for a node of another kind."""
    readers = _READERS if node.domain in STANDARD else _LINEAR_MODELS if node.domain == "ai.onnx.ml" else {}
    reader = readers.get(node.op_type)
    return None if reader is None else reader(graph, node)


def apply_constant(affine: Affine, node: NodeProto, constant: NDArray[Any], *, constant_first: bool) -> Affine | None:
    """Compose an affine map with an Add, Sub, Mul or Div by a constant; None when rows are treated differently."""
    value = to_double(constant).reshape(-1)
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


def batch_factors(graph: Graph, node: NodeProto) -> tuple[Array, Array] | None:
    """Read scale and shift, each of shape (channels,), of a BatchNormalization; None where the batch decides them."""
    constants = node.input[1:5]
    if attribute(node, "training_mode", 0) or any(node.output[1:]) or not all(map(graph.is_constant, constants)):
        return None
    gain, shift, mean, variance = (to_double(graph.constant(name)).reshape(-1) for name in constants)
    scale = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, shift - mean * scale


def to_double(values: NDArray[Any]) -> Array:
    """Convert values of any real type to float64."""
    if values.dtype.kind == "c":
        raise TypeError("complex numbers")
    return np.asarray(values).astype(np.float64)


def arithmetic_of(weight: NDArray[Any]) -> str:
    """Name the arithmetic of a head with this weight, as a key of `EPS`."""
    return weight.dtype.name if weight.dtype.name in EPS else "float32"


def read_gemm(graph: Graph, node: NodeProto) -> Affine | str:
    """Read the affine map of α op(A) op(B) + β C."""
    left, right = (graph.is_constant(name) for name in node.input[:2])
    if left == right:
        return "its weight is computed from the input" if not left else "both its operands are constant"
    # With the weight on the right, rows run down op(A); with the weight on the left, along op(B).
    raw = graph.constant(node.input[1 if right else 0])
    weight_transposed = bool(attribute(node, "transB" if right else "transA", 0))
    weight = float(attribute(node, "alpha", 1.0)) * to_double(raw if weight_transposed != left else raw.T)
    features_transposed = bool(attribute(node, "transA" if right else "transB", 0))
    bias = np.zeros(len(weight))
    if len(node.input) > 2 and node.input[2]:
        if not graph.is_constant(node.input[2]):
            return "its bias is computed from the input"
        constant = to_double(graph.constant(node.input[2]))
        if constant.size not in (1, len(weight)):
            return f"its bias of shape {constant.shape} differs from row to row"
        bias = bias + float(attribute(node, "beta", 1.0)) * constant.reshape(-1)
    features_axes = Axes(2, 1 if right != features_transposed else 0)
    features = node.input[0 if right else 1]
    # Some exporters write a bias of zeros here and add the real one behind.
    has_bias = bool(bias.any())
    return Affine(
        "Gemm", features, features_axes, Axes(2, 1 if right else 0), weight, bias, arithmetic_of(raw), has_bias
    )


def read_matmul(graph: Graph, node: NodeProto, *, transposed: bool = False) -> Affine | str:
    """Read the affine map of a product; `transposed` says that a weight on the right is transposed first."""
    left, right = (graph.is_constant(name) for name in node.input[:2])
    if left == right:
        return "both its operands are computed from the input" if not left else "both its operands are constant"
    raw = graph.constant(node.input[1 if right else 0])
    raw = raw.reshape(raw.shape[-2:]) if raw.ndim > 2 and raw.size == np.prod(raw.shape[-2:]) else raw
    if raw.ndim != 2:
        return f"its weight has shape {raw.shape}"
    features = node.input[0 if right else 1]
    rank = graph.rank(features)
    if left and (rank is None or rank < 2):
        return "its features have an unknown number of axes"
    axes = Axes.features_last(rank) if right or rank is None else Axes(rank, rank - 2)
    weight = to_double(raw.T if right != transposed else raw)
    return Affine("MatMul", features, axes, axes, weight, np.zeros(len(weight)), arithmetic_of(raw))


def read_conv(graph: Graph, node: NodeProto) -> Affine | str:
    """Read the affine map of a convolution whose kernel covers one position, or all of them."""
    if not all(graph.is_constant(name) for name in node.input[1:] if name):
        return "its weight is computed from the input"
    raw = graph.constant(node.input[1])
    one_position = all(size == 1 for size in raw.shape[2:])
    strided = any(step != 1 for step in attribute(node, "strides", []))
    # With stride 1, a kernel of one position needs no padding to keep the size of its input.
    automatic = attribute(node, "auto_pad", b"NOTSET") not in (b"", b"NOTSET", b"VALID")
    padded = any(attribute(node, "pads", [])) or (not one_position and automatic)
    if attribute(node, "group", 1) != 1 or padded or (one_position and strided):
        return "it is a grouped, padded or strided convolution"
    if not one_position and tuple(graph.shape(node.input[0])[2:]) != raw.shape[2:]:
        return f"its kernel is {'×'.join(map(str, raw.shape[2:]))}, neither 1×1 nor as large as its input"
    has_bias = len(node.input) > 2 and bool(node.input[2])
    axes = Axes(raw.ndim, 1)
    return Affine(
        kind="Conv",
        features=node.input[0],
        features_axes=axes,
        outputs_axes=axes if one_position else replace(axes, unit=True),
        weight=to_double(raw.reshape(len(raw), -1)),
        bias=to_double(graph.constant(node.input[2])) if has_bias else np.zeros(len(raw)),
        dtype=arithmetic_of(raw),
        has_bias=has_bias,
        flattened=not one_position,
    )


def _read_transposed_conv(graph: Graph, node: NodeProto) -> Affine | str:
    """Read the affine map of a transposed convolution whose kernel acts at one position."""
    if not all(graph.is_constant(name) for name in node.input[1:] if name):
        return "its weight is computed from the input"
    raw = graph.constant(node.input[1])
    moves = [entry for name in ("pads", "output_padding", "output_shape") for entry in attribute(node, name, [])]
    strided = any(step != 1 for step in attribute(node, "strides", []))
    if any(size != 1 for size in raw.shape[2:]) or attribute(node, "group", 1) != 1 or strided or any(moves):
        return "it is a transposed convolution whose kernel acts at several positions"
    has_bias = len(node.input) > 2 and bool(node.input[2])
    weight, axes = to_double(raw.reshape(raw.shape[:2]).T), Axes(raw.ndim, 1)
    bias = to_double(graph.constant(node.input[2])) if has_bias else np.zeros(len(weight))
    return Affine("ConvTranspose", node.input[0], axes, axes, weight, bias, arithmetic_of(raw), has_bias)


def _read_linear_model(graph: Graph, node: NodeProto) -> Affine | str:
    """Read the affine map of a linear model of scikit-learn, whose scores are its last output."""
    transform = attribute(node, "post_transform", b"NONE")
    intercepts = np.array(attribute(node, "intercepts", [0.0]), dtype=np.float64)
    coefficients = np.array(attribute(node, "coefficients", []), dtype=np.float64)
    names = attribute(node, "classlabels_ints") or attribute(node, "classlabels_strings") or intercepts
    if transform != b"NONE":
        return f"it applies {transform.decode('ascii', 'replace')} to its scores, which no tensor holds"
    if len(names) != len(intercepts):
        return "it writes one score as those of two classes"
    weight, axes = coefficients.reshape(len(intercepts), -1), Axes(2, 1)
    return Affine(node.op_type, node.input[0], axes, axes, weight, intercepts, "float32", has_bias=True)


def _read_einsum(graph: Graph, node: NodeProto) -> Affine | str:
    """Read the affine map of an Einsum that sums one label of φ against a weight of two labels."""
    equation = attribute(node, "equation", b"").decode("ascii", "replace").replace(" ", "")
    constant = [graph.is_constant(name) for name in node.input]
    operands, arrow, result = equation.partition("->")
    terms = operands.split(",")
    if len(constant) != 2 or constant[0] == constant[1] or len(terms) != 2:
        return "it is no product of features and a constant weight"
    if not arrow:  # ONNX then takes the labels that occur once, in alphabetical order
        labels = [label for label in operands if label.isalpha()]
        result = "..." * ("." in operands) + "".join(sorted(label for label in labels if labels.count(label) == 1))
    features_term, weight_term = terms if constant[1] else terms[::-1]
    summed = set(features_term) & set(weight_term) - set(result)
    added = set(weight_term) & set(result) - set(features_term)
    kept = [label for label in features_term if label not in summed]
    if (len(weight_term), len(summed), len(added)) != (2, 1, 1) or kept != [c for c in result if c not in added]:
        return f"its equation {equation} is no linear layer"
    feature, output = summed.pop(), added.pop()
    raw = graph.constant(node.input[1 if constant[1] else 0])
    weight = to_double(raw if weight_term[0] == output else raw.T)
    inner, outer = _einsum_axes(features_term, feature), _einsum_axes(result, output)
    features = node.input[0 if constant[1] else 1]
    return Affine("Einsum", features, inner, outer, weight, np.zeros(len(weight)), arithmetic_of(raw))


def _einsum_axes(term: str, label: str) -> Axes:
    """Find how a label lies in an Einsum term. An ellipsis leaves the rank open, so that only -1 names an axis."""
    if "." in term:
        return Axes(None, -1) if term.endswith(label) else Axes(None, -2)
    return Axes(len(term), term.index(label))


def _read_weighted_sum(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Read the affine map of a sum of features that a Mul has weighed by constants; None for other sums."""
    product, axes = graph.producer(node.input[0]), graph.constant_integers(node, "axes", 1)
    if product is None or product.op_type != "Mul" or product.domain not in STANDARD or not axes or len(axes) != 1:
        return None
    left, right = (graph.is_constant(name) for name in product.input)
    features = product.input[1 if left else 0]
    shape = graph.shape(features)
    if left == right or not shape:
        return None
    raw = graph.constant(product.input[0 if left else 1])
    axis = axes[0] % len(shape)
    raw = raw.reshape((1,) * (len(shape) - raw.ndim) + raw.shape)
    if raw.ndim > len(shape) or raw.shape[axis] == 1 or shape[axis] == 1:
        return None  # it sums over rows, or weighs no features
    others = [index for index, size in enumerate(raw.shape) if size > 1 and index != axis]
    if axis != len(shape) - 1 and not others:
        return "it sums weighed values along another axis than the last"
    if len(others) > 1 or any(shape[other] != 1 for other in others):
        return "it sums values whose weights differ from row to row"
    weight = to_double(np.moveaxis(raw, axis, -1).reshape(-1, raw.shape[axis]))
    weight = weight / raw.shape[axis] if node.op_type == "ReduceMean" else weight
    keeps = bool(attribute(node, "keepdims", 1))
    steps: tuple[NodeProto, ...] = ()
    if keeps:
        outer = Axes(len(shape), others[0] if others else axis)
    elif others:
        outer = Axes(len(shape) - 1, others[0] - (axis < others[0]))
    else:
        outer = Axes(2, 1)
        steps = (helper.make_node("Flatten", ["sum"], ["column"], axis=len(shape) - 1),)
    return Affine(
        f"Mul+{node.op_type}", features, Axes(len(shape), axis), outer, weight, np.zeros(len(weight)),
        arithmetic_of(raw), outputs_steps=steps,
    )  # fmt: skip


_LINEAR_MODELS: dict[str, Reader] = {"LinearClassifier": _read_linear_model, "LinearRegressor": _read_linear_model}
_READERS: dict[str, Reader] = {
    "Conv": read_conv, "ConvTranspose": _read_transposed_conv, "Einsum": _read_einsum, "Gemm": read_gemm,
    "MatMul": read_matmul, "ReduceMean": _read_weighted_sum, "ReduceSum": _read_weighted_sum,
}  # fmt: skip
