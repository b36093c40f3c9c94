"""Search back from a tensor, through the operators that may follow a head, to the linear layers it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx import NodeProto

from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine, read_affine
from onnxrich.model.head.chain import BY_CONSTANT, MOVES, UNCHANGED, Chain, build_chain
from onnxrich.model.head.quantized import read_quantized
from onnxrich.model.simplify import STANDARD

# Operators that may stand between the last linear layer and an output of the model, besides those in `chain`.
AFTER_HEAD = {
    "Abs", "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "AveragePool", "Celu", "Clip", "Concat", "Elu",
    "Equal", "Erf", "Exp", "Expand", "GatherElements", "Gelu", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "LpNormalization", "Max", "MaxPool", "Min", "Neg", "Normalizer", "Not", "OneHot", "Or", "PRelu", "Pow",
    "QLinearSigmoid", "QLinearSoftmax", "Reciprocal", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMin",
    "ReduceSum", "ReduceSumSquare", "Relu", "Resize", "Round", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus",
    "Softsign", "Split", "Sqrt", "Tanh", "ThresholdedRelu", "TopK", "Upsample", "Where", "ZipMap",
}  # fmt: skip
# The other inputs of these operators are shapes, axes and counts, no data.
FIRST_INPUT_ONLY = UNCHANGED | MOVES.keys() | {
    "Clip", "Expand", "GatherElements", "OneHot", "QLinearSigmoid", "QLinearSoftmax", "ReduceMax", "ReduceMin",
    "ReduceSum", "Resize", "Split", "TopK", "Upsample",
}  # fmt: skip
DOMAINS = (*STANDARD, "ai.onnx.ml", "com.microsoft")
# Operators between a tensor and its linear layer, at most.
MAX_DEPTH = 256


@dataclass(frozen=True)
class DeadEnd:
    """A tensor at which the search stopped, and the reason."""

    tensor: str
    reason: str


@dataclass(frozen=True, eq=False)
class _Trail:
    """The way from a tensor to the output.

    Attributes:
        passed: affine operators up to the first other one, with the output of each that lies on the way.
        depth: number of all operators.
    """

    passed: tuple[tuple[NodeProto, str], ...] = ()
    depth: int = 0

    def extended(self, node: NodeProto, output: str) -> _Trail:
        """The trail with one more affine operator before it."""
        return replace(self, passed=((node, output), *self.passed))


def search_back(graph: Graph, tensor: str) -> list[Chain | DeadEnd]:
    """Find every linear layer that a tensor comes from, and every dead end on the ways back.

    A tensor has a head when all its ways back end at the same linear layer. So the search passes a softmax that was
    decomposed into several operators, but not the sum of two computed tensors.
    """
    ends: dict[tuple[str, str], Chain | DeadEnd] = {}
    seen: set[tuple[str, str]] = set()
    pending = [(tensor, _Trail())]
    while pending:
        name, trail = pending.pop()
        state = (name, trail.passed[0][1] if trail.passed else "")
        if state in seen:
            continue
        seen.add(state)
        result = _step_back(graph, name, trail)
        if isinstance(result, list):
            pending.extend(reversed(result))
        elif isinstance(result, Chain):
            ends.setdefault((result.affine.features, result.outputs), result)
        else:
            ends.setdefault((result.tensor, result.reason), result)
    return list(ends.values())


def is_raw_input(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is an input of the model, at most reshaped, scaled or shifted, so that no layer precedes it."""
    for _ in range(MAX_DEPTH):
        node = graph.producer(tensor)
        if node is None:
            return tensor in graph.inputs
        computed = graph.computed_inputs(node)
        passes = node.op_type in UNCHANGED | MOVES.keys() | BY_CONSTANT | {"Scaler", "Normalizer", "Imputer"}
        if node.domain not in DOMAINS or not passes or not computed:
            return False
        if node.op_type in BY_CONSTANT and len(computed) > 1:
            return False
        tensor = computed[0]
    return False


def _is_decision(graph: Graph, tensor: str) -> bool:
    """Whether a tensor says which values are equal, as for leaves of trees or entries of tables."""
    for _ in range(MAX_DEPTH):
        node = graph.producer(tensor)
        if node is None or node.op_type not in UNCHANGED | MOVES.keys():
            return node is not None and node.op_type in ("Equal", "OneHot")
        tensor = node.input[0]
    return False


def _step_back(graph: Graph, name: str, trail: _Trail) -> list[tuple[str, _Trail]] | Chain | DeadEnd:
    """Go back over the operator that computes a tensor, to the tensors it reads or to an end of the search."""
    node = graph.producer(name)
    if node is None:
        return DeadEnd(name, "the model's input is reached without a linear layer")
    if trail.depth > MAX_DEPTH:
        return DeadEnd(name, f"no linear layer is among the last {MAX_DEPTH} operators")
    trail = replace(trail, depth=trail.depth + 1)
    affine = read_affine(graph, node)
    affine = read_quantized(graph, node) if affine is None else affine
    if affine is not None:
        return _end_at_layer(graph, node, name, trail, affine)
    if node.op_type == "If" and node.domain in STANDARD:
        index = list(node.output).index(name)
        branches = [entry.g for entry in node.attribute if entry.HasField("g")]
        return [(branch.output[index].name, _Trail(depth=trail.depth)) for branch in branches]
    sources = _sources(graph, node, name, trail)
    domain = f"{node.domain}." if node.domain else ""
    return sources or DeadEnd(name, f"operator {domain}{node.op_type} is not known to follow a head")


def _sources(graph: Graph, node: NodeProto, name: str, trail: _Trail) -> list[tuple[str, _Trail]]:
    """List the tensors that an operator behind a head reads, with their trails; empty for other operators."""
    computed = graph.computed_inputs(node)
    if node.domain not in DOMAINS or not computed:
        return []
    if node.op_type in BY_CONSTANT and len(computed) == 1:
        return [(computed[0], trail.extended(node, name))]
    if node.op_type in UNCHANGED or (node.op_type in MOVES and node.input[0] in computed):
        return [(node.input[0], trail.extended(node, name))]
    if node.op_type in AFTER_HEAD | BY_CONSTANT | MOVES.keys():
        followed = computed[:1] if node.op_type in FIRST_INPUT_ONLY else computed
        return [(source, _Trail(depth=trail.depth)) for source in followed]
    return []


def _end_at_layer(graph: Graph, node: NodeProto, name: str, trail: _Trail, affine: Affine | str) -> Chain | DeadEnd:
    """Take a linear layer as the head, or say why it is none."""
    label = f"{node.op_type} {node.name!r}"
    if graph.is_inner(name):
        return DeadEnd(name, f"{label} lies inside an If, where its tensors can't be read")
    if isinstance(affine, str):
        return DeadEnd(name, f"{label}: {affine}")
    if _is_decision(graph, affine.features):
        return DeadEnd(name, f"{label} acts on decisions, such as those of trees, and not on a layer")
    if is_raw_input(graph, affine.features):
        return DeadEnd(name, f"{label} acts on the model's input: there is no layer before it")
    return build_chain(graph, affine, name, trail.passed)
