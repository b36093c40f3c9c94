"""Walk back from a tensor, through what may follow a head, to the linear layers that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.head import affine
from onnxrich.head.affine import Affine
from onnxrich.head.graph import Graph, attribute

# What may stand between the last linear layer and an output of the model, by what it does to the rows.
UNCHANGED = {"Identity", "Dropout", "Cast"}
RESHAPING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand"}
BY_CONSTANT = {"Add", "Sub", "Mul", "Div"}
ACTIVATIONS = {
    "Abs", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "AveragePool", "Celu", "Clip", "Elu", "Equal", "Erf",
    "Exp", "Gather", "GatherElements", "GatherND", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Hardmax", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "Max",
    "MaxPool", "Min", "Neg", "Normalizer", "Not", "PRelu", "Pow", "Reciprocal", "ReduceL2", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Relu", "Round", "Selu", "Sigmoid", "Sign",
    "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Tanh", "TopK", "Where", "ZipMap",
}  # fmt: skip
# Inputs behind the first of these are shapes, axes and counts, no data.
FIRST_INPUT_ONLY = RESHAPING | UNCHANGED | {"Slice", "TopK", "Clip", "Split", "ReduceMax", "ReduceSum", "ReduceMean"}
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
DEEPEST = 256


@dataclass(frozen=True, eq=False)
class Found:
    """A linear layer that a tensor comes from.

    Attributes:
        affine: its map, with what follows it by constants (bias, temperature) included.
        outputs: tensor that holds f = Wφ + b.
        reshaped: whether a shape operator lies between the operator and `outputs`.
        pooled: whether global average pooling, which commutes with the map, follows it.
    """

    affine: Affine
    outputs: str
    reshaped: bool
    pooled: bool


@dataclass(frozen=True)
class DeadEnd:
    """A tensor at which the walk stopped, and why."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class _Trail:
    """What the walk has passed since the last operator that is not affine."""

    tail: tuple[tuple[NodeProto, str, bool], ...] = ()
    end: str | None = None
    reshaped: bool = False
    pooled: bool = False
    depth: int = 0


def walk(graph: Graph, tensor: str) -> list[Found | DeadEnd]:
    """Every linear layer that a tensor comes from, and every place where no linear layer was met.

    A tensor has a head when all its ways back end at the same linear layer: so a softmax that was decomposed into
    several operators is passed, and a sum of two computed tensors is not.
    """
    ends: dict[tuple[str, str], Found | DeadEnd] = {}
    seen: set[tuple[str, str | None, bool]] = set()
    pending = [(tensor, _Trail())]
    while pending:
        name, trail = pending.pop()
        if (name, trail.end, trail.pooled) in seen:
            continue
        seen.add((name, trail.end, trail.pooled))
        result = _step(graph, name, trail)
        if isinstance(result, list):
            pending.extend(reversed(result))
        else:
            key = (
                (result.affine.features, result.outputs)
                if isinstance(result, Found)
                else (result.tensor, result.reason)
            )
            ends.setdefault(key, result)
    return list(ends.values())


def is_raw_input(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is an input of the model, at most reshaped, scaled or shifted: no layer lies before it."""
    for _ in range(DEEPEST):
        node = graph.producer(tensor)
        if node is None:
            return tensor in graph.inputs
        computed = [name for name in node.input if name and not graph.is_constant(name)]
        passes = node.op_type in UNCHANGED | RESHAPING | BY_CONSTANT | {"Scaler", "Normalizer", "Imputer"}
        if node.domain not in DOMAINS or not passes or not computed:
            return False
        if node.op_type in BY_CONSTANT and len(computed) > 1:
            return False
        tensor = computed[0]
    return False


def _step(graph: Graph, name: str, trail: _Trail) -> list[tuple[str, _Trail]] | Found | DeadEnd:
    node = graph.producer(name)
    if node is None:
        return DeadEnd(name, "an input of the model, with no linear layer behind it")
    if trail.depth > DEEPEST:
        return DeadEnd(name, f"no linear layer among the last {DEEPEST} operators")
    trail = replace(trail, depth=trail.depth + 1)
    if affine.is_linear(node):
        return _found(graph, node, name, trail)
    if node.domain not in DOMAINS:
        return DeadEnd(name, f"operator {node.domain}.{node.op_type} is not known to follow a head")
    computed = [source for source in node.input if source and not graph.is_constant(source)]
    if node.op_type in BY_CONSTANT and len(computed) == 1:
        constant = next((source for source in node.input if source != computed[0]), "")
        tail = (*trail.tail, (node, constant, node.input[0] == constant))
        return [(computed[0], replace(trail, tail=tail, end=trail.end or name))]
    if node.op_type in UNCHANGED:
        return [(node.input[0], trail)]
    if node.op_type in RESHAPING:
        return [(node.input[0], replace(trail, reshaped=trail.reshaped or trail.end is not None))]
    if node.op_type == "GlobalAveragePool" or _is_spatial_mean(graph, node):
        return [(node.input[0], replace(trail, pooled=True))]
    if node.op_type in ACTIVATIONS | BY_CONSTANT:
        followed = computed[:1] if node.op_type in FIRST_INPUT_ONLY else computed
        return [(source, _Trail(depth=trail.depth)) for source in followed]
    return DeadEnd(name, f"operator {node.op_type} is not known to follow a head")


def _found(graph: Graph, node: NodeProto, name: str, trail: _Trail) -> Found | DeadEnd:
    result = affine.read(graph, node)
    for later, constant, constant_first in reversed(trail.tail):
        if isinstance(result, str):
            break
        value: NDArray[Any] = graph.constant(constant)
        result = affine.follow(result, later, value, constant_first=constant_first)
    if isinstance(result, str):
        return DeadEnd(name, f"{node.op_type} {node.name!r}: {result}")
    if is_raw_input(graph, result.features):
        return DeadEnd(name, f"{node.op_type} {node.name!r} acts on the model's input: there is no layer before it")
    return Found(result, trail.end or name, trail.reshaped, trail.pooled)


def _is_spatial_mean(graph: Graph, node: NodeProto) -> bool:
    if node.op_type != "ReduceMean":
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and graph.is_constant(node.input[1]):
        axes = graph.constant(node.input[1]).reshape(-1).tolist()
    return sorted(axes or []) in ([2, 3], [-2, -1])
