"""What belongs to a layer: the operators behind it that act on each of its numbers, or normalise them."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.chain import BY_CONSTANT, UNCHANGED

ACTIVATIONS = {
    "Abs", "BiasGelu", "Celu", "Clip", "Elu", "Erf", "Exp", "FastGelu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu",
    "Log", "Max", "Min", "Mish", "Neg", "PRelu", "Pow", "QLinearLeakyRelu", "QLinearSigmoid", "QuickGelu", "Reciprocal",
    "Relu", "Selu", "Shrink", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
    "Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
}  # fmt: skip
NORMALISATIONS = {
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization", "SimplifiedLayerNormalization",
}  # fmt: skip
# Operators that a layer has at most.
LONGEST = 48


class Follower:
    """Follows layers to the tensors that they give.

    Args:
        graph: where they are.
        nodes: what makes the features, in order.
        goal: the features, which are a use of their own.
    """

    def __init__(self, graph: Graph, nodes: Sequence[NodeProto], goal: str) -> None:
        self._graph, self.goal = graph, goal
        self._uses: dict[str, list[tuple[int, NodeProto]]] = {}
        for at, node in enumerate(nodes):
            for name in set(node.input):
                self._uses.setdefault(name, []).append((at, node))
        self.absorbed: set[str] = set()

    def uses(self, tensor: str) -> list[NodeProto]:
        """The nodes that take a tensor."""
        return [node for _, node in self._uses.get(tensor, ())]

    def follow(self, start: str, axis: int | None) -> tuple[str, list[str], int | None]:
        """The last tensor through which all goes that comes from a layer, the operators up to it, and its axis.

        Activations may be written in several operators, as x·½(1 + erf(x/√2)): so operators are taken in as long as all
        that they act on comes from the layer, and whenever a single tensor is left that others use, it is a result.
        """
        held, taken, operators = {start: axis}, set[int](), list[str]()
        end, kept = start, 0
        while len(operators) < LONGEST:
            ahead = [(at, node) for name in held for at, node in self._uses.get(name, ()) if at not in taken]
            fitting = [(at, node) for at, node in ahead if self._belongs(node, held)]
            if not fitting:
                break
            at, node = min(fitting, key=lambda pair: pair[0])
            taken.add(at)
            operators.append(node.op_type)
            held[node.output[0]] = self._axis(node, held)
            if node.op_type != "ReduceMean" and self._open(held, taken) == [node.output[0]]:
                end, kept = node.output[0], len(operators)
        self.absorbed.update(list(held)[1 : kept + 1])
        return end, operators[:kept], held[end]

    def _open(self, held: dict[str, int | None], taken: set[int]) -> list[str]:
        """The tensors that are used by more than what was taken in."""
        return [
            name for name in held if name == self.goal or any(at not in taken for at, _ in self._uses.get(name, ()))
        ]

    def _belongs(self, node: NodeProto, held: dict[str, int | None]) -> bool:
        """Whether a node acts on what comes from the layer alone, and leaves its rows and features where they are."""
        if any(name not in held for name in self._graph.computed(node)):
            return False
        axis = held[next(name for name in node.input if name in held)]
        if node.op_type == "Transpose":
            return axis is not None and bool(attribute(node, "perm"))
        if node.op_type == "Reshape":
            sizes = [self._graph.shape(name)[-1:] for name in (node.input[0], node.output[0])]
            return axis == -1 and sizes[0] == sizes[1] and sizes[0] not in ((), (None,))
        if node.op_type == "ReduceMean":
            return axis == -1 and bool(attribute(node, "keepdims", 1)) and self._over_features(node)
        return node.op_type in ACTIVATIONS | NORMALISATIONS | BY_CONSTANT | UNCHANGED

    def _over_features(self, node: NodeProto) -> bool:
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and self._graph.is_constant(node.input[1]):
            axes = self._graph.constant(node.input[1]).reshape(-1).tolist()
        rank = self._graph.rank(node.input[0])
        return list(axes or ()) in ([-1], [None if rank is None else rank - 1])

    def _axis(self, node: NodeProto, held: dict[str, int | None]) -> int | None:
        axis = held[next(name for name in node.input if name in held)]
        return axis if node.op_type != "Transpose" or axis is None else transposed(node, axis)


def transposed(node: NodeProto, axis: int) -> int | None:
    """Where an axis is behind a Transpose, -1 for the last; None where the file doesn't say its order."""
    order = list(attribute(node, "perm") or ())
    if not order:
        return None
    at = order.index(axis % len(order))
    return -1 if at == len(order) - 1 else at
