"""Operators behind a head: those that a function of its outputs may consist of, and those that hide another layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine
from onnxrich.model.head.chain import BY_CONSTANT, MOVES, UNCHANGED
from onnxrich.model.validity import STANDARD

# Operators that may stand between the last linear layer and an output of the model, besides those in `chain`.
AFTER_HEAD = {
    "Abs", "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "Atan", "AveragePool", "BatchNormalization", "Ceil",
    "Celu", "Clip", "Concat", "Cos", "Elu", "Equal", "Erf", "Exp", "Expand", "FastGelu", "Floor", "Gelu",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Hardmax", "IsInf", "IsNaN", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "Max", "MaxPool", "Mean", "Min", "Mish", "Neg",
    "Normalizer", "Not", "OneHot", "Or", "PRelu", "Pow", "QLinearAveragePool", "QLinearGlobalAveragePool",
    "QLinearSigmoid", "QLinearSoftmax", "QuickGelu", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Resize", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Sum", "Swish", "Tanh",
    "ThresholdedRelu", "TopK", "Upsample", "Where", "Xor", "ZipMap",
}  # fmt: skip
DOMAINS = (*STANDARD, "ai.onnx.ml", "com.microsoft")
# Operators that sum, or otherwise contract, the values along an axis.
REDUCTIONS = {
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare",
}  # fmt: skip
# Operators that treat entries by the entries of a constant.
WEIGHING = BY_CONSTANT | {"Pow"}
# Products that sum over the axis of a vector.
SUMMED_AT_ONCE = ("MatMul", "Einsum")
# Operators between a softmax and what reads it, at most.
MAX_MOVES = 16
# What the scores of classes go through, and what the entries of an embedding go through.
OF_SCORES = {
    "ArgMax", "ArgMin", "Equal", "Exp", "Greater", "GreaterOrEqual", "HardSigmoid", "Hardmax", "Less", "LessOrEqual",
    "LogSoftmax", "QLinearSigmoid", "QLinearSoftmax", "ReduceLogSumExp", "Sigmoid", "Softmax", "TopK",
}  # fmt: skip
OF_EMBEDDINGS = {
    "Celu", "Elu", "Gelu", "HardSwish", "LeakyRelu", "LpNormalization", "Normalizer", "PRelu", "ReduceL2", "Relu",
    "Selu", "Softsign", "Sqrt", "Tanh",
}  # fmt: skip


def hidden_contraction(graph: Graph, nodes: Sequence[NodeProto]) -> NodeProto | None:
    """Find an operator behind a head that sums values which constants have weighed: another layer may hide there.

    A softmax that was written as several operators sums values too, but treats all of them alike.

    Args:
        graph: the graph of the operators.
        nodes: all operators behind the head.
    """
    producers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type in REDUCTIONS and any(
            _weighs(graph, before) and not is_expectation(graph, before) for before in _before(node, producers)
        ):
            return node
    return None


def _before(node: NodeProto, producers: dict[str, NodeProto]) -> Iterable[NodeProto]:
    """Iterate over the operators among the producers that lead to a node."""
    pending, seen = list(node.input), set()
    while pending:
        name = pending.pop()
        if name in producers and name not in seen:
            seen.add(name)
            yield producers[name]
            pending.extend(producers[name].input)


def _weighs(graph: Graph, node: NodeProto) -> bool:
    """Whether a node treats entries by the entries of a constant that differ."""
    if node.op_type not in WEIGHING:
        return False
    fixed = [name for name in node.input if graph.is_fixed(name)]
    return any(not graph.is_constant(name) or np.ptp(graph.constant(name)) > 0 for name in fixed)


# Expectations


def is_expectation(graph: Graph, node: NodeProto) -> bool:
    """Whether a node multiplies probabilities of a softmax by the values on a grid, to sum them next or at once."""
    if node.op_type not in ("Mul", *SUMMED_AT_ONCE) or not any(graph.is_constant(name) for name in node.input):
        return False
    (computed,) = graph.data_inputs(node)[:1] or ("",)
    grid = next(graph.constant(name) for name in node.input if graph.is_constant(name))
    is_vector = grid.ndim == 1 or node.op_type == "Mul"
    return is_vector and is_grid(grid) and is_probability(graph, computed)


def is_grid(values: NDArray[Any]) -> bool:
    """Whether the values rise or fall along one axis: those of ordered bins."""
    steps = np.diff(np.asarray(values, dtype=np.float64).reshape(-1))
    return steps.size > 0 and bool((steps > 0).all() or (steps < 0).all())


def is_fixed_expectation(graph: Graph, affine: Affine) -> bool:
    """Whether a linear layer takes the expectation of a softmax over bins: one output, a grid of weights, no bias."""
    is_vector = len(affine.weight) == 1 and is_grid(affine.weight) and not affine.bias.any()
    return is_vector and is_probability(graph, affine.features)


def is_probability(graph: Graph, tensor: str) -> bool:
    """Whether a tensor holds the probabilities of a softmax, at most moved."""
    for _ in range(MAX_MOVES):
        node = graph.producer(tensor)
        if node is None:
            return False
        if node.op_type in UNCHANGED | MOVES.keys():
            tensor = node.input[0]
        else:
            return node.op_type in ("Softmax", "QLinearSoftmax") or _is_written_softmax(graph, node)
    return False


def _is_written_softmax(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is the last of a softmax that several operators write: exp(x)/Σ exp(x), or exp(log softmax)."""
    if node.op_type == "Exp":
        before = graph.producer(node.input[0])
        return before is not None and before.op_type == "LogSoftmax"
    if node.op_type != "Div":
        return False
    power, total = (graph.producer(name) for name in node.input)
    is_power = power is not None and power.op_type == "Exp"
    return is_power and total is not None and total.op_type == "ReduceSum" and total.input[0] == node.input[0]


# Activations


def embedding_activation(nodes: Sequence[NodeProto]) -> str | None:
    """Name the activation or normalisation that follows the last linear layer where no scores of classes do."""
    operators = [node.op_type for node in nodes]
    if any(operator in OF_SCORES for operator in operators):
        return None
    return next((operator for operator in operators if operator in OF_EMBEDDINGS), None)
