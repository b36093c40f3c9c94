"""Combinations of linear layers: tensors that are one affine map of a common φ, however many operators compute them.

A row of a tensor is a small array of values, each an affine function of the φ of that row. So the coefficients of a
tensor are an array of the tensor's rank, of size one along axes that hold rows, with p entries behind the last axis.
Most operators act on coefficients as they act on values. All of this is computed in double from the graph's constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.affine import Affine, Axes, batch_factors, read_affine, to_double
from onnxrich.model.head.quantized import read_quantized
from onnxrich.model.validity import STANDARD
from onnxrich.moments.matrix import Array

# The most features for which the identity is written down, as where φ itself is added to its layer's outputs.
WIDEST_IDENTITY = 4096
# Coefficients of a tensor, at most, unless its layers have as many.
LARGEST = 2**26
# Operators between φ and a combination, and tensors among which the features of layers have a common source, at most.
MAX_DEPTH, MAX_MOVES = 64, 16
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
# Operators that compute a part of the values of a tensor. A combination ends before them.
SELECTIONS = {"Gather", "Slice", "Split"}


@dataclass(frozen=True, eq=False)
class Base:
    """The features that several linear layers share.

    Attributes:
        tensor: its name.
        axes: how φ lies in it.
        p: number of features.
        flattened: whether all axes behind the first hold features.
    """

    tensor: str
    axes: Axes
    p: int
    flattened: bool = False


@dataclass(frozen=True, eq=False)
class Values:
    """A tensor whose values in a row are affine functions of φ.

    Attributes:
        weight: float64 array: the tensor's axes, then p.
        bias: float64 array: the tensor's axes.
        rows: for each axis whether it holds rows; weight and bias have size one there.
        layers: the linear layers of which it is a combination.
    """

    weight: Array
    bias: Array
    rows: tuple[bool, ...]
    layers: tuple[Affine, ...] = ()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.bias.ndim

    def joined(self, weight: Array, bias: Array, *others: Values) -> Values:
        """Values computed from these and others of the same axes."""
        layers = {id(layer): layer for values in (self, *others) for layer in values.layers}
        return Values(weight, bias, self.rows, tuple(layers.values()))

    def mapped(self, function: Callable[[Array], Array], rows: Sequence[bool] | None = None) -> Values:
        """Values to whose coefficients a function was applied that leaves the last axis in place."""
        bias = function(self.bias[..., None])[..., 0]
        return Values(function(self.weight), bias, self.rows if rows is None else tuple(rows), self.layers)


class Combinations:
    """The tensors of a graph that are affine in a base.

    Args:
        graph: the graph.
        base: the common features.
    """

    def __init__(self, graph: Graph, base: Base) -> None:
        self._graph, self._base = graph, base
        self._values: dict[str, Values | None] = {}

    def values(self, tensor: str, depth: int = 0) -> Values | None:
        """Find the coefficients of a tensor; None when it is not affine in the base, row by row."""
        if tensor not in self._values:
            self._values[tensor] = None if depth > MAX_DEPTH else self._compute(tensor, depth)
        return self._values[tensor]

    def affine(self, tensor: str) -> Affine | None:
        """The affine map from the base to a tensor that linear layers compute; None when there is none."""
        values = self.values(tensor)
        if values is None or not values.layers:
            return None
        free = [axis for axis, is_row in enumerate(values.rows) if not is_row]
        wide = [axis for axis in free if values.bias.shape[axis] > 1] or free[-1:]
        if len(wide) != 1:
            return None
        base, layers = self._base, values.layers
        kinds = "+".join(dict.fromkeys(layer.kind for layer in layers))
        return Affine(
            kind=kinds if len(layers) == 1 else f"{len(layers)} layers ({kinds})",
            features=base.tensor,
            features_axes=base.axes,
            outputs_axes=Axes(values.rank, wide[0]),
            weight=values.weight.reshape(-1, base.p),
            bias=values.bias.reshape(-1),
            dtype=layers[0].dtype,
            has_bias=True,
            flattened=base.flattened,
            quantization_step=max(layer.quantization_step for layer in layers),
        )

    def _compute(self, tensor: str, depth: int) -> Values | None:
        if tensor == self._base.tensor:
            return self._identity()
        node = self._graph.producer(tensor)
        if node is None or self._graph.is_inner(tensor) or not self._graph.data_inputs(node):
            return None
        layer = read_affine(self._graph, node)
        layer = read_quantized(self._graph, node) if layer is None else layer
        if layer is not None:
            return None if isinstance(layer, str) else self._behind_layer(layer, depth)
        operator = _OPERATORS.get(node.op_type)
        if operator is None or node.domain not in STANDARD or (operator is not _split and tensor != node.output[0]):
            return None
        inputs: dict[str, Values] = {}
        for name in self._graph.data_inputs(node):
            values = self.values(name, depth + 1)
            if values is None:
                return None
            inputs[name] = values
        try:
            return operator(self._graph, node, inputs, tensor)
        except (ValueError, IndexError, TypeError, MemoryError):
            return None  # shapes that don't fit together row by row, or would be too large

    def _identity(self) -> Values | None:
        base = self._base
        if base.p > WIDEST_IDENTITY or base.axes.rank is None or base.flattened:
            return None
        axis = base.axes.features % base.axes.rank
        shape = [base.p if index == axis else 1 for index in range(base.axes.rank)]
        rows = tuple(index != axis for index in range(base.axes.rank))
        return Values(np.eye(base.p).reshape(*shape, base.p), np.zeros(shape), rows)

    def _behind_layer(self, layer: Affine, depth: int) -> Values | None:
        if layer.features_scale or layer.outputs_scale or layer.outputs_axes.rank is None:
            return None
        if layer.outputs_steps:
            return self._of_column(layer)
        out = layer.outputs_axes.features % layer.outputs_axes.rank
        if layer.features == self._base.tensor and layer.flattened == self._base.flattened:
            shape = [len(layer.bias) if index == out else 1 for index in range(layer.outputs_axes.rank)]
            rows = tuple(index != out for index in range(len(shape)))
            return Values(layer.weight.reshape(*shape, -1), layer.bias.reshape(shape), rows, (layer,))
        values = None if layer.flattened else self.values(layer.features, depth + 1)
        if values is None or layer.outputs_axes.rank != values.rank:
            return None
        axis = layer.features_axes.features % values.rank
        if values.rows[axis] or values.bias.shape[axis] != layer.weight.shape[1] or axis != out:
            return None
        weight = np.moveaxis(np.tensordot(layer.weight, values.weight, (1, axis)), 0, axis)
        shape = [-1 if index == axis else 1 for index in range(values.rank)]
        bias = np.moveaxis(np.tensordot(layer.weight, values.bias, (1, axis)), 0, axis) + layer.bias.reshape(shape)
        return replace(values.joined(weight, bias), layers=(*values.layers, layer))

    def _of_column(self, layer: Affine) -> Values | None:
        """The values of a layer with one output, which has no axis of its own."""
        if layer.features != self._base.tensor:
            return None
        rank = int(attribute(layer.outputs_steps[0], "axis"))
        shape = (1,) * rank
        return Values(layer.weight.reshape(*shape, -1), layer.bias.reshape(shape), (True,) * rank, (layer,))


def common_bases(graph: Graph, layers: Sequence[Affine]) -> Iterator[Base]:
    """Iterate over tensors that may be the common features of some layers, and over those of which these are views."""
    seen: set[str] = set()
    for layer in layers:
        base = Base(layer.features, layer.features_axes, layer.weight.shape[1], layer.flattened)
        for candidate in (base, *_sources_of(graph, base)):
            if candidate.tensor not in seen:
                seen.add(candidate.tensor)
                yield candidate


def base_of(graph: Graph, tensor: str, layers: Sequence[Affine]) -> Base | None:
    """Find how the features of some layers lie in a tensor; None when none of them reads it."""
    return next((base for base in common_bases(graph, layers) if base.tensor == tensor), None)


def _sources_of(graph: Graph, base: Base) -> Iterator[Base]:
    """Iterate over the tensors of which a tensor of features is a view."""
    tensor = base.tensor
    for _ in range(MAX_MOVES):
        node = graph.producer(tensor)
        if node is None or node.op_type not in _VIEWS or not node.input or graph.is_inner(node.input[0]):
            return
        tensor = node.input[0]
        shape = graph.shape(tensor)
        wide = [axis for axis, size in enumerate(shape) if axis and size != 1]
        if len(wide) != 1 and len(shape) > 1 and shape[-1]:
            wide = [len(shape) - 1]
        if len(wide) == 1 and shape[wide[0]]:
            yield Base(tensor, Axes(len(shape), wide[0]), int(shape[wide[0]] or 0))


# Operators on values


def _same(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    return inputs[node.input[0]] if list(inputs) == [node.input[0]] else None


def _cast(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    return _same(graph, node, inputs, tensor) if attribute(node, "to") in FLOATS else None


def _negate(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    return inputs[node.input[0]].mapped(np.negative)


def _sum(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Add or subtract any number of tensors."""
    total: Values | NDArray[Any] | None = None
    for index, name in enumerate(node.input):
        term = inputs.get(name)
        if term is None and not graph.is_constant(name):
            return None
        operand: Values | NDArray[Any] = graph.constant(name) if term is None else term
        if node.op_type == "Sub" and index:
            operand = operand.mapped(np.negative) if isinstance(operand, Values) else -to_double(operand)
        total = operand if total is None else _added(total, operand)
        if total is None:
            return None
    return total if isinstance(total, Values) else None


def _added(left: Values | NDArray[Any], right: Values | NDArray[Any]) -> Values | NDArray[Any] | None:
    if not isinstance(left, Values):
        if not isinstance(right, Values):
            return np.asarray(to_double(left) + to_double(right))
        left, right = right, left
    if isinstance(right, Values):
        if left.rows != right.rows:
            return None
        _check_size(left, right.bias)
        return left.joined(left.weight + right.weight, left.bias + right.bias, right)
    constant = _along_values(left, right)
    if constant is None:
        return None
    bias = left.bias + constant
    return left.joined(np.broadcast_to(left.weight, (*bias.shape, left.weight.shape[-1])), bias)


def _along_values(values: Values, constant: NDArray[Any]) -> Array | None:
    """Align a constant with the axes of values; None when it differs from row to row."""
    if constant.ndim > values.rank:
        return None
    aligned = to_double(constant).reshape((1,) * (values.rank - constant.ndim) + constant.shape)
    _check_size(values, aligned)
    return (
        None if any(is_row and size > 1 for is_row, size in zip(values.rows, aligned.shape, strict=True)) else aligned
    )


def _check_size(values: Values, other: Array) -> None:
    """Check that coefficients stay small when they are broadcast: the file is untrusted.

    Raises:
        ValueError: when they do not, or when the shapes don't fit.
    """
    shape: tuple[int, ...] = np.broadcast_shapes(values.bias.shape, other.shape)
    size = float(np.prod(shape, dtype=np.float64)) * values.weight.shape[-1]
    if size > max(LARGEST, 2 * values.weight.size):
        raise ValueError(f"{size:.2g} coefficients")


def _mean(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    total, count = _sum(graph, node, inputs, tensor), len(node.input)
    return None if total is None else total.mapped(lambda array: array / count)


def _scale(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Multiply or divide by a constant."""
    constants = [name for name in node.input if graph.is_constant(name)]
    if len(constants) != 1 or (node.op_type == "Div" and node.input[0] in constants):
        return None
    (values,) = inputs.values()
    factor = _along_values(values, graph.constant(constants[0]))
    if factor is None:
        return None
    factor = 1 / factor if node.op_type == "Div" else factor
    return values.joined(values.weight * factor[..., None], values.bias * factor)


def _normalize(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values, factors = inputs[node.input[0]], batch_factors(graph, node)
    if factors is None or values.rank < 2 or values.rows[1]:
        return None
    scale, shift = (factor.reshape(-1, *[1] * (values.rank - 2)) for factor in factors)
    return values.joined(values.weight * scale[..., None], values.bias * scale + shift)


def _reduce(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Add or average the values of each row."""
    values, numbers = inputs[node.input[0]], graph.constant_integers(node, "axes", 1)
    if not numbers or any(values.rows[number % values.rank] for number in numbers):
        return None
    axes = tuple(number % values.rank for number in numbers)
    keeps = bool(attribute(node, "keepdims", 1))
    rows = [is_row for axis, is_row in enumerate(values.rows) if keeps or axis not in axes]
    function = np.mean if node.op_type == "ReduceMean" else np.sum
    return values.mapped(lambda array: function(array, axis=axes, keepdims=keeps), rows)


def _concatenate(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    parts = [inputs.get(name) for name in node.input]
    known = [part for part in parts if part is not None]
    axis = attribute(node, "axis", 1) % known[0].rank
    if len(known) != len(parts) or known[0].rows[axis] or any(part.rows != known[0].rows for part in known):
        return None
    weight = np.concatenate([part.weight for part in known], axis=axis)
    return known[0].joined(weight, np.concatenate([part.bias for part in known], axis=axis), *known[1:])


def _transpose(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values = inputs[node.input[0]]
    order = list(attribute(node, "perm") or range(values.rank)[::-1])
    rows = [values.rows[axis] for axis in order]
    in_order = sorted(axis for axis in order if values.rows[axis]) == [axis for axis in order if values.rows[axis]]
    return values.mapped(lambda array: array.transpose(*order, values.rank), rows) if in_order else None


def _squeeze(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values, numbers = inputs[node.input[0]], graph.constant_integers(node, "axes", 1)
    if not numbers or any(values.rows[number % values.rank] for number in numbers):
        return None
    axes = {number % values.rank for number in numbers}
    rows = [is_row for axis, is_row in enumerate(values.rows) if axis not in axes]
    return values.mapped(lambda array: np.squeeze(array, tuple(axes)), rows)


def _unsqueeze(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values, numbers = inputs[node.input[0]], graph.constant_integers(node, "axes", 1)
    if not numbers:
        return None
    rank = values.rank + len(numbers)
    axes = sorted(number % rank for number in numbers)
    rows = list(values.rows)
    for axis in axes:
        rows.insert(axis, False)
    return values.mapped(lambda array: np.expand_dims(array, tuple(axes)), rows)


def _reshape(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Group values anew behind the rows, which must come first and stay as many."""
    values = inputs[node.input[0]]
    count = sum(values.rows)
    target: list[int | None] = list(graph.constant_integers(node, "shape", 1) or graph.shape(node.output[0]))
    if node.op_type == "Flatten":
        target = [0, -1] if attribute(node, "axis", 1) == 1 else []
    size, behind = values.bias.size, [entry or 0 for entry in target[count:]]
    if not all(values.rows[:count]) or not count or not behind or 0 in behind:
        return None
    open_entries = [index for index, entry in enumerate(behind) if entry == -1]
    if len(open_entries) == 1 and -1 not in target[:count]:
        behind[open_entries[0]] = size // int(np.prod([entry for entry in behind if entry != -1]))
    if int(np.prod(behind)) != size or -1 in behind:
        return None
    shape = (*[1] * count, *behind)
    rows = [True] * count + [False] * len(behind)
    return values.mapped(lambda array: array.reshape(*shape, array.shape[-1]), rows)


def _expand(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Repeat values along the axes whose new size the graph shows."""
    values, shape = inputs[node.input[0]], graph.shape(node.output[0])
    free = [axis for axis in range(values.rank) if not values.rows[axis]]
    if len(shape) != values.rank or any(shape[axis] is None for axis in free):
        return None
    sizes = [1 if axis not in free else int(shape[axis] or 1) for axis in range(values.rank)]
    _check_size(values, np.broadcast_to(0.0, sizes))
    return values.mapped(lambda array: np.broadcast_to(array, (*sizes, array.shape[-1])))


def _select(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    """Take values by their constant numbers."""
    values = _same(graph, node, inputs, tensor)
    axis = attribute(node, "axis", 0)
    if values is None or values.rows[axis % values.rank] or not graph.is_constant(node.input[1]):
        return None
    index = graph.constant(node.input[1]).astype(int)
    axis %= values.rank
    rows = [*values.rows[:axis], *[False] * index.ndim, *values.rows[axis + 1 :]]
    return values.mapped(lambda array: np.take(array, index, axis=axis), rows)


def _slice(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values = _same(graph, node, inputs, tensor)
    starts, ends = (graph.constant_integers(node, name, index) for index, name in ((1, "starts"), (2, "ends")))
    if values is None or starts is None or ends is None:
        return None
    axes = graph.constant_integers(node, "axes", 3) or list(range(len(starts)))
    steps = graph.constant_integers(node, "steps", 4) or [1] * len(starts)
    if any(values.rows[axis % values.rank] for axis in axes) or min(steps) < 1:
        return None
    cuts = [slice(None)] * values.rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cuts[axis % values.rank] = slice(start, end, step)
    return values.mapped(lambda array: array[tuple(cuts)])


def _split(graph: Graph, node: NodeProto, inputs: dict[str, Values], tensor: str) -> Values | None:
    values = _same(graph, node, inputs, tensor)
    axis = attribute(node, "axis", 0)
    if values is None or values.rows[axis % values.rank]:
        return None
    axis %= values.rank
    count, length = len(node.output), values.bias.shape[axis]
    sizes = graph.constant_integers(node, "split", 1) or [-(-length // count)] * count
    number = list(node.output).index(tensor)
    start = sum(sizes[:number])
    return values.mapped(lambda array: np.take(array, range(start, min(start + sizes[number], length)), axis=axis))


# Compute the coefficients of an operator's output from those of its inputs; None where rows and values mix.
Operator = Callable[[Graph, NodeProto, dict[str, Values], str], "Values | None"]
_OPERATORS: dict[str, Operator] = {
    "Add": _sum, "BatchNormalization": _normalize, "Cast": _cast, "Concat": _concatenate, "Div": _scale,
    "Dropout": _same, "Expand": _expand, "Flatten": _reshape, "Gather": _select, "Identity": _same, "Mean": _mean,
    "Mul": _scale, "Neg": _negate, "ReduceMean": _reduce, "ReduceSum": _reduce, "Reshape": _reshape, "Slice": _slice,
    "Split": _split, "Squeeze": _squeeze, "Sub": _sum, "Sum": _sum, "Transpose": _transpose, "Unsqueeze": _unsqueeze,
}  # fmt: skip
# Operators whose output is a view of their first input, or a part of it.
_VIEWS = {"Cast", "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
          "Unsqueeze"}  # fmt: skip
