"""Chain behind a linear layer, up to the first operator that is not affine: its bias, and operators that move rows.

The rows of a head are those that reach the first operator that is not affine. A mean over positions or the choice of a
token commutes with the linear layer. So the same operators, applied to φ, give the features of these rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, helper

from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.affine import EIGHT_BITS, Affine, Axes, apply_constant, batch_factors
from onnxrich.moments.matrix import Array

BY_CONSTANT = {"Add", "Sub", "Mul", "Div"}
UNCHANGED = {"Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True, eq=False)
class Chain:
    """A linear layer with the operators that belong to it.

    Attributes:
        affine: the map from φ to f, bias included.
        outputs: tensor of f.
        axes: how f lies, and φ after `steps`.
        steps: operators that move the rows of f, to be applied to φ too.
        is_pooled: whether one of them takes a mean.
        is_mixed: whether a Reshape has put rows and features on one axis, until another Reshape separates them.
        activation: the operator behind the chain with which an embedding ends; None where scores follow, or nothing.
    """

    affine: Affine
    outputs: str
    axes: Axes
    steps: tuple[NodeProto, ...] = ()
    is_pooled: bool = False
    is_mixed: bool = False
    activation: str | None = None


def build_chain(
    graph: Graph, affine: Affine, outputs: str, passed: Sequence[tuple[NodeProto, str]], *,
    is_whole: bool = False, is_exact: bool = False,
) -> Chain:  # fmt: skip
    """Build the chain of a linear layer.

    Args:
        graph: the graph of the operators.
        affine: the map of the operator itself.
        outputs: its output.
        passed: operators behind it, in order, with the output of each that leads on.
        is_whole: whether these are all operators up to the model's output. When all of them are affine, a shift by a
            single number belongs to the layer too, with all before it.
        is_exact: whether the chain is to reach to the end of all that is affine.
    """
    chain = head = shifted = Chain(affine, outputs, affine.outputs_axes)
    same_axes = affine.features_axes == affine.outputs_axes
    for index, (node, output) in enumerate(passed):
        if graph.is_inner(output):
            break
        following = passed[index + 1][0] if index + 1 < len(passed) else None
        result = _extend(graph, replace(chain, outputs=output), node, following, same_axes=same_axes)
        if result is None:
            break
        chain, belongs_to_head = result
        head = chain if belongs_to_head else head
        shifted = chain if belongs_to_head or node.op_type in ("Add", "Sub") else shifted
    else:
        # A shift changes what the outputs span, the scale of all of them does not.
        last = chain if is_exact else shifted
        head = last if (is_whole or is_exact) and not last.is_mixed else head
    # When φ and f lie differently they cannot share steps: the rows stay those of the operator itself.
    return head if same_axes else replace(head, steps=())


def _extend(
    graph: Graph, chain: Chain, node: NodeProto, following: NodeProto | None, *, same_axes: bool
) -> tuple[Chain, bool] | None:
    """Extend a chain, whose output is already the node's, by a node.

    Returns:
        The chain, and whether the head reaches to its end; None when the node does not belong to the chain.
    """
    if chain.affine.outputs_steps and node.op_type not in BY_CONSTANT | UNCHANGED:
        return None  # there is no axis of features that such an operator could keep
    if node.op_type == "Reshape" and chain.axes.last and not chain.axes.unit:
        return _regroup_rows(graph, chain, node), False
    if chain.is_mixed and node.op_type not in UNCHANGED:
        return None
    if node.op_type == "ReduceSum" and not _is_division(graph, following):
        return None
    if chain.steps and chain.steps[-1].op_type == "ReduceSum":
        return replace(chain, steps=(*chain.steps, node)), True
    if node.op_type in BY_CONSTANT:
        return _add_constant(graph, chain, node)
    if node.op_type == "BatchNormalization":
        return _add_normalization(graph, chain, node)
    if node.op_type == "Neg":
        return replace(chain, affine=_scaled(chain.affine, node, -np.ones(1), np.zeros(1))), False
    if node.op_type == "QLinearGlobalAveragePool":
        return _pool_integers(chain, node) if same_axes else None
    if node.op_type == "QuantizeLinear":
        return replace(chain, affine=replace(chain.affine, quantization_step=EIGHT_BITS)), False
    if node.op_type == "DequantizeLinear":
        return replace(chain, affine=replace(chain.affine, outputs_scale=())), False
    if node.op_type in UNCHANGED:
        return chain, False
    return _move_rows(graph, chain, node, same_axes=same_axes)


def _regroup_rows(graph: Graph, chain: Chain, node: NodeProto) -> Chain:
    """Append a Reshape, which may group rows anew while features stay the last axis."""
    size, shape, target = len(chain.affine.bias), graph.shape(chain.outputs), graph.constant_integers(node, "shape", 1)
    last = shape[-1] if shape else None
    if last is None and target:
        # An open last entry keeps the features when all entries before it are copied, as far as the graph shows.
        copied = len(target) == chain.axes.rank and not any(target[:-1])
        last = target[-1] if target[-1] > 0 else size if copied else -1
    if last not in (None, size):
        return replace(chain, is_mixed=True)
    axes = Axes.features_last(graph.rank(chain.outputs))
    return replace(chain, axes=axes, steps=(*chain.steps, node), is_mixed=False)


def _is_division(graph: Graph, node: NodeProto | None) -> bool:
    """Whether a node divides by a number: with a sum before it, as some exporters write a mean.

    The check by running proves the number.
    """
    if node is None or node.op_type not in ("Div", "Mul"):
        return False
    return graph.is_constant(node.input[1]) and graph.constant(node.input[1]).size == 1


def _add_constant(graph: Graph, chain: Chain, node: NodeProto) -> tuple[Chain, bool] | None:
    """Append an operator by a constant; None when it differs from row to row."""
    constant_first = graph.is_constant(node.input[0])
    if not graph.is_constant(node.input[0 if constant_first else 1]):
        return None  # made from shapes
    constant = graph.constant(node.input[0 if constant_first else 1])
    if constant.size > 1 and not _lies_along_features(constant, chain.axes):
        return None
    affine = apply_constant(chain.affine, node, constant, constant_first=constant_first)
    if affine is None:
        return None
    # One value an output belongs to the layer. A single one is a temperature, or a scale behind the layer.
    is_bias = node.op_type in ("Add", "Sub") and not affine.has_bias
    belongs = constant.size == len(affine.bias) and (constant.size > 1 or is_bias)
    return replace(chain, affine=replace(affine, has_bias=affine.has_bias or (belongs and is_bias))), belongs


def _pool_integers(chain: Chain, node: NodeProto) -> tuple[Chain, bool] | None:
    """Append a pooling of quantised maps: φ, which is dequantised, is pooled in floats."""
    if chain.axes.features != 1 or attribute(node, "channels_last", 0):
        return None
    step = helper.make_node("GlobalAveragePool", node.input[:1], node.output)
    affine = replace(chain.affine, outputs_scale=(node.input[3], node.input[4]), quantization_step=EIGHT_BITS)
    axes = replace(chain.axes, unit=True)
    return replace(chain, affine=affine, axes=axes, steps=(*chain.steps, step), is_pooled=True), True


def _lies_along_features(constant: Array, axes: Axes) -> bool:
    """Whether a constant has one value for each output, and the same for all rows."""
    behind = 1 if axes.features == -1 or axes.rank is None else axes.rank - axes.features % axes.rank
    return constant.ndim >= behind and constant.shape[-behind] == constant.size


def _add_normalization(graph: Graph, chain: Chain, node: NodeProto) -> tuple[Chain, bool] | None:
    """Append a BatchNormalization of the outputs; None when it normalises another axis, or by the batch."""
    factors = batch_factors(graph, node)
    rank = chain.axes.rank or 2
    if factors is None or chain.axes.features % rank != 1 or len(factors[0]) != len(chain.affine.bias):
        return None
    affine = replace(_scaled(chain.affine, node, *factors), has_bias=True)
    return replace(chain, affine=affine), len(affine.bias) > 1 or not chain.affine.has_bias


def _scaled(affine: Affine, node: NodeProto, scale: Array, shift: Array) -> Affine:
    weight, bias = affine.weight * scale[:, None], affine.bias * scale + shift
    return replace(affine, kind=f"{affine.kind}+{node.op_type}", weight=weight, bias=bias)


def _move_rows(graph: Graph, chain: Chain, node: NodeProto, *, same_axes: bool) -> tuple[Chain, bool] | None:
    """Append an operator that moves rows; None for other operators, and when φ can't follow the rows of f."""
    axes = MOVES[node.op_type](graph, node, chain.axes) if node.op_type in MOVES else None
    changes_rows = node.op_type in CHANGES_ROWS
    if axes is None or (changes_rows and not same_axes):
        return None
    is_pooled = chain.is_pooled or node.op_type in MEANS
    moved = replace(chain, axes=axes, steps=(*chain.steps, node), is_pooled=is_pooled)
    return moved, changes_rows and node.op_type != "ReduceSum"


def _transpose(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    order = attribute(node, "perm") or (None if axes.rank is None else list(range(axes.rank))[::-1])
    if order is None or (axes.rank is None and axes.features != -1):
        return None
    features = len(order) - 1 if axes.features == -1 else axes.features
    return Axes(len(order), order.index(features), axes.unit and features == 1 and order[:2] == [0, 1])


def _without(axes: Axes, removed: list[int] | None) -> Axes | None:
    """Remove axes; None when the axis of features is among them, or when the graph does not show it."""
    if removed is None or axes.rank is None:
        return None
    removed_axes = {axis % axes.rank for axis in removed}
    features = axes.features % axes.rank
    if features in removed_axes:
        return None
    return Axes(axes.rank - len(removed_axes), features - sum(axis < features for axis in removed_axes))


def _reduce_mean(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    numbers = graph.constant_integers(node, "axes", 1)
    remaining = _without(axes, numbers)
    if remaining is None or not attribute(node, "keepdims", 1):
        return remaining
    reduced = {axis % (axes.rank or 1) for axis in numbers or []}
    return replace(axes, unit=axes.features == 1 and reduced >= set(range(2, axes.rank or 0)))


def _global_pool(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    return replace(axes, unit=True) if axes.features == 1 else None


def _squeeze(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    removed = graph.constant_integers(node, "axes", 1)
    if removed is None and axes.unit and axes.rank is not None:
        removed = list(range(2, axes.rank))
    return _without(axes, removed)


def _unsqueeze(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    added = graph.constant_integers(node, "axes", 1)
    if added is None or axes.rank is None:
        return None
    rank = axes.rank + len(added)
    free = [axis for axis in range(rank) if axis not in {axis % rank for axis in added}]
    return Axes(rank, free[axes.features % axes.rank])


def _flatten(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    axis = attribute(node, "axis", 1)
    keeps = axis == 1 and (axes.unit or axes.rank == 2)
    keeps = keeps or (axes.rank is not None and axes.last and axis in (axes.rank - 1, -1))
    return Axes(2, 1) if keeps else None


def _reshape(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    # `_regroup_rows` handles features along the last axis. Else a Reshape may only leave out axes of size one.
    target = graph.constant_integers(node, "shape", 1)
    return Axes(2, 1) if axes.unit and (target is None or len(target) == 2) else None


def _gather(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    if axes.rank is None:
        return None
    axis = attribute(node, "axis", 0) % axes.rank
    index = graph.constant(node.input[1]).ndim if graph.is_constant(node.input[1]) else graph.rank(node.input[1])
    if index is None or axis == axes.features % axes.rank:
        return None
    features = axes.features + (index - 1 if axis < axes.features else 0)
    return Axes(axes.rank - 1 + index, features)


def _gather_nd(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    index = graph.shape(node.input[1])
    if axes.rank is None or not axes.last or not index or index[-1] is None or attribute(node, "batch_dims", 0):
        return None
    rank = len(index) - 1 + axes.rank - index[-1]
    return Axes(rank, rank - 1) if index[-1] < axes.rank else None


def _gather_elements(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    """Take rows by one number for all features of a row, which φ can follow."""
    if axes.rank is None or not axes.last or attribute(node, "axis", 0) % axes.rank == axes.rank - 1:
        return None
    return axes if _is_same_for_features(graph, node.input[1]) else None


def _is_same_for_features(graph: Graph, index: str) -> bool:
    """Whether a tensor has one value along its last axis, as far as the graph shows."""
    if graph.is_constant(index):
        return bool(np.ptp(graph.constant(index), axis=-1).max(initial=0) == 0)
    node = graph.producer(index)
    if node is not None and node.op_type in ("Expand", "Tile"):
        index = node.input[0]
        node = graph.producer(index)
    added = graph.constant_integers(node, "axes", 1) if node is not None and node.op_type == "Unsqueeze" else None
    return graph.shape(index)[-1:] == (1,) or -1 in (added or ())


def _slice(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    sliced = graph.constant_integers(node, "axes", 3)
    return axes if _without(axes, sliced) is not None else None


# How each operator that moves rows moves the axes; None when it does not keep rows and features apart.
MOVES: dict[str, Callable[[Graph, NodeProto, Axes], Axes | None]] = {
    "Transpose": _transpose, "ReduceMean": _reduce_mean, "ReduceSum": _reduce_mean,
    "GlobalAveragePool": _global_pool, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Flatten": _flatten,
    "Reshape": _reshape, "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd,
    "Slice": _slice,
}  # fmt: skip
MEANS = {"ReduceMean", "ReduceSum", "GlobalAveragePool"}
# Operators that take rows by their numbers.
CHOOSES_ROWS = {"Gather", "GatherElements", "GatherND"}
CHANGES_ROWS = MEANS | CHOOSES_ROWS | {"Slice"}
