"""What follows a linear layer up to the first operator that isn't affine: its bias, and operators that move rows.

The rows of a head are those that reach the first non-affine operator. A mean over positions or the choice of one token
commutes with the linear layer, so the same operators, applied to φ, give the features of these rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.affine import EIGHT_BITS, Affine, Axes, follow

BY_CONSTANT = {"Add", "Sub", "Mul", "Div"}
UNCHANGED = {"Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True, eq=False)
class Chain:
    """A linear layer with what belongs to it.

    Attributes:
        affine: the map from φ to f, bias included.
        outputs: tensor that holds f.
        axes: how f, and φ after `steps`, lie.
        steps: operators that move rows, to be applied to φ as they were to f.
        pooled: whether one of them takes a mean.
        mixed: whether a Reshape has put rows and features on one axis, until another takes them apart again.
    """

    affine: Affine
    outputs: str
    axes: Axes
    steps: tuple[NodeProto, ...] = ()
    pooled: bool = False
    mixed: bool = False


def build(graph: Graph, affine: Affine, made: str, passed: Sequence[tuple[NodeProto, str]]) -> Chain:
    """The chain of a linear layer.

    Args:
        graph: where the operators are.
        affine: the map of the operator itself.
        made: its output.
        passed: operators behind it and the output of each that leads on, in order.
    """
    current = Chain(affine, made, affine.outputs_axes)
    best = current
    bias_open = not affine.biased
    same = affine.features_axes == affine.outputs_axes
    for at, (node, output) in enumerate(passed):
        if graph.is_inner(output):
            break
        if node.op_type == "Reshape" and current.axes.last and not current.axes.unit:
            current = _reshaped(graph, node, current, output)
            continue
        if current.mixed and node.op_type not in UNCHANGED:
            break
        if node.op_type == "ReduceSum" and not _is_mean(graph, passed[at + 1 :]):
            break
        if current.steps and current.steps[-1].op_type == "ReduceSum":
            current = best = replace(current, outputs=output, steps=(*current.steps, node))
        elif node.op_type in BY_CONSTANT:
            extended, size = _with_constant(graph, current, node)
            if extended is None:
                break
            current = replace(extended, outputs=output)
            # One value an output belongs to the layer, a single one is a temperature or a rescaling behind it.
            first_bias = bias_open and node.op_type in ("Add", "Sub")
            if size == len(affine.bias) and (size > 1 or first_bias):
                best, bias_open = current, bias_open and not first_bias
        elif node.op_type == "QuantizeLinear":
            current = replace(current, outputs=output, affine=replace(current.affine, quantization_step=EIGHT_BITS))
        elif node.op_type == "DequantizeLinear":
            current = replace(current, outputs=output, affine=replace(current.affine, outputs_scale=()))
        elif node.op_type in UNCHANGED:
            current = replace(current, outputs=output)
        else:
            moved = MOVES[node.op_type](graph, node, current.axes) if node.op_type in MOVES else None
            if moved is None or (not same and node.op_type in CHANGES_ROWS):
                break
            pooled = current.pooled or node.op_type in MEANS
            current = Chain(current.affine, output, moved, (*current.steps, node), pooled)
            if node.op_type in CHANGES_ROWS and node.op_type != "ReduceSum":
                best = current
    # A layer whose φ and f lie differently has no steps to share: its rows stay those of the operator itself.
    return best if same else replace(best, steps=())


def _reshaped(graph: Graph, node: NodeProto, chain: Chain, output: str) -> Chain:
    """The chain with a Reshape behind it: rows may be grouped anew while features stay the last axis."""
    size, shape, target = len(chain.affine.bias), graph.shape(output), _constants(graph, node, 1, "shape")
    last = shape[-1] if shape else None
    if last is None and target:
        # An open last entry keeps the features where all before it are copied, as far as can be seen.
        copied = len(target) == chain.axes.rank and not any(target[:-1])
        last = target[-1] if target[-1] > 0 else size if copied else -1
    if last not in (None, size):
        return replace(chain, outputs=output, mixed=True)
    rank = graph.rank(output)
    axes = Axes(rank, -1 if rank is None else rank - 1)
    return replace(chain, outputs=output, axes=axes, steps=(*chain.steps, node), mixed=False)


def _is_mean(graph: Graph, behind: Sequence[tuple[NodeProto, str]]) -> bool:
    """Whether a sum is divided by a number, as some exporters write a mean; the check by running proves the number."""
    if not behind or behind[0][0].op_type not in ("Div", "Mul"):
        return False
    name = behind[0][0].input[1]
    return graph.is_constant(name) and graph.constant(name).size == 1


def _with_constant(graph: Graph, chain: Chain, node: NodeProto) -> tuple[Chain | None, int]:
    """The chain with an operator by a constant behind it, None where it isn't affine a row, and the constant's size."""
    constant_first = graph.is_constant(node.input[0])
    value = graph.constant(node.input[0 if constant_first else 1])
    affine = follow(chain.affine, node, value, constant_first=constant_first)
    return (None if affine is None else replace(chain, affine=affine)), value.size


def _constants(graph: Graph, node: NodeProto, index: int, name: str) -> list[int] | None:
    """Integers that are an attribute in old operator sets and an input in new ones; None when computed or absent."""
    given = attribute(node, name)
    if given is None and len(node.input) > index and node.input[index] and graph.is_constant(node.input[index]):
        given = graph.constant(node.input[index]).reshape(-1).tolist()
    return None if given is None else [int(value) for value in given]


def _transpose(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    order = attribute(node, "perm") or (None if axes.rank is None else list(range(axes.rank))[::-1])
    if order is None or (axes.rank is None and axes.features != -1):
        return None
    features = len(order) - 1 if axes.features == -1 else axes.features
    return Axes(len(order), order.index(features), axes.unit and features == 1 and order[:2] == [0, 1])


def _without(axes: Axes, removed: list[int] | None) -> Axes | None:
    """Axes after some of them are gone; None when the features' own is among them, or it can't be known."""
    if removed is None or axes.rank is None:
        return None
    gone = {axis % axes.rank for axis in removed}
    features = axes.features % axes.rank
    if features in gone:
        return None
    return Axes(axes.rank - len(gone), features - sum(axis < features for axis in gone))


def _reduce_mean(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    left = _without(axes, _constants(graph, node, 1, "axes"))
    if left is None or not attribute(node, "keepdims", 1):
        return left
    reduced = {axis % (axes.rank or 1) for axis in _constants(graph, node, 1, "axes") or []}
    return replace(axes, unit=axes.features == 1 and reduced >= set(range(2, axes.rank or 0)))


def _global_pool(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    return replace(axes, unit=True) if axes.features == 1 else None


def _squeeze(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    removed = _constants(graph, node, 1, "axes")
    if removed is None and axes.unit and axes.rank is not None:
        removed = list(range(2, axes.rank))
    return _without(axes, removed)


def _unsqueeze(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    added = _constants(graph, node, 1, "axes")
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
    # With features last a Reshape is followed by `_reshaped`; else only axes of size one can be left out.
    target = _constants(graph, node, 1, "shape")
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


def _slice(graph: Graph, node: NodeProto, axes: Axes) -> Axes | None:
    cut = _constants(graph, node, 3, "axes")
    return axes if _without(axes, cut) is not None else None


MOVES: dict[str, Callable[[Graph, NodeProto, Axes], Axes | None]] = {
    "Transpose": _transpose, "ReduceMean": _reduce_mean, "ReduceSum": _reduce_mean, "GlobalAveragePool":
    _global_pool, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Flatten": _flatten, "Reshape": _reshape,
    "Gather": _gather, "GatherND": _gather_nd, "Slice": _slice,
}  # fmt: skip
MEANS = {"ReduceMean", "ReduceSum", "GlobalAveragePool"}
CHANGES_ROWS = MEANS | {"Gather", "GatherND", "Slice"}
