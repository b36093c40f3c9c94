"""Walk back from a tensor, through what may follow a head, to the linear layers that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx import NodeProto

from onnxrich.model.constants import STANDARD
from onnxrich.model.graph import Graph
from onnxrich.model.head import affine, quantized
from onnxrich.model.head.affine import Affine
from onnxrich.model.head.chain import BY_CONSTANT, MOVES, UNCHANGED, Chain, build

# What may stand between the last linear layer and an output of the model, beside what `chain` knows.
ACTIVATIONS = {
    "Abs", "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "AveragePool", "Celu", "Clip", "Concat", "Elu",
    "Equal", "Erf", "Exp", "Expand", "GatherElements", "Gelu", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "LpNormalization", "Max", "MaxPool", "Min", "Neg", "Normalizer", "Not", "OneHot", "Or", "PRelu", "Pow",
    "QLinearSigmoid", "QLinearSoftmax", "Reciprocal", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMin",
    "ReduceSum", "ReduceSumSquare", "Relu", "Resize", "Round", "Selu", "Sigmoid", "Sign", "Softmax", "Softplus",
    "Softsign", "Split", "Sqrt", "Tanh", "ThresholdedRelu", "TopK", "Upsample", "Where", "ZipMap",
}  # fmt: skip
# Of these the other inputs are shapes, axes and counts, no data.
FIRST_INPUT_ONLY = UNCHANGED | MOVES.keys() | {
    "Clip", "Expand", "GatherElements", "OneHot", "QLinearSigmoid", "QLinearSoftmax", "ReduceMax", "ReduceMin",
    "ReduceSum", "Resize", "Split", "TopK", "Upsample",
}  # fmt: skip
DOMAINS = (*STANDARD, "ai.onnx.ml", "com.microsoft")
DEEPEST = 256


@dataclass(frozen=True)
class DeadEnd:
    """A tensor at which the walk stopped, and why."""

    tensor: str
    reason: str


@dataclass(frozen=True, eq=False)
class _Trail:
    """Operators passed since the last that is not affine, from the head to the output, and the number of all."""

    passed: tuple[tuple[NodeProto, str], ...] = ()
    depth: int = 0


def search_back(graph: Graph, tensor: str) -> list[Chain | DeadEnd]:
    """Every linear layer that a tensor comes from, and every place where no linear layer was met.

    A tensor has a head when all its ways back end at the same linear layer: so a softmax that was decomposed into
    several operators is passed, and a sum of two computed tensors is not.
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
        result = _step(graph, name, trail)
        if isinstance(result, list):
            pending.extend(reversed(result))
        elif isinstance(result, Chain):
            ends.setdefault((result.affine.features, result.outputs), result)
        else:
            ends.setdefault((result.tensor, result.reason), result)
    return list(ends.values())


def is_raw_input(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is an input of the model, at most reshaped, scaled or shifted: no layer lies before it."""
    for _ in range(DEEPEST):
        node = graph.producer(tensor)
        if node is None:
            return tensor in graph.inputs
        computed = [name for name in node.input if name and not graph.is_constant(name)]
        passes = node.op_type in UNCHANGED | MOVES.keys() | BY_CONSTANT | {"Scaler", "Normalizer", "Imputer"}
        if node.domain not in DOMAINS or not passes or not computed:
            return False
        if node.op_type in BY_CONSTANT and len(computed) > 1:
            return False
        tensor = computed[0]
    return False


def _is_decision(graph: Graph, tensor: str) -> bool:
    """Whether a tensor says which of some values are equal: leaves of trees, chosen entries of tables."""
    for _ in range(DEEPEST):
        node = graph.producer(tensor)
        if node is None or node.op_type not in UNCHANGED | MOVES.keys():
            return node is not None and node.op_type in ("Equal", "OneHot")
        tensor = node.input[0]
    return False


def _step(graph: Graph, name: str, trail: _Trail) -> list[tuple[str, _Trail]] | Chain | DeadEnd:
    node = graph.producer(name)
    if node is None:
        return DeadEnd(name, "an input of the model, with no linear layer behind it")
    if trail.depth > DEEPEST:
        return DeadEnd(name, f"no linear layer among the last {DEEPEST} operators")
    trail = replace(trail, depth=trail.depth + 1)
    read = affine.read(graph, node)
    read = quantized.read(graph, node) if read is None else read
    if read is not None:
        return _found(graph, node, name, trail, read)
    if node.op_type == "If" and node.domain in STANDARD:
        index = list(node.output).index(name)
        branches = [entry.g for entry in node.attribute if entry.HasField("g")]
        return [(branch.output[index].name, _Trail(depth=trail.depth)) for branch in branches]
    computed = [source for source in node.input if source and not graph.is_constant(source)]
    domain = f"{node.domain}." if node.domain else ""
    if node.domain not in DOMAINS or not computed:
        return DeadEnd(name, f"operator {domain}{node.op_type} is not known to follow a head")
    if node.op_type in BY_CONSTANT and len(computed) == 1:
        return [(computed[0], replace(trail, passed=((node, name), *trail.passed)))]
    if node.op_type in UNCHANGED or (node.op_type in MOVES and node.input[0] in computed):
        return [(node.input[0], replace(trail, passed=((node, name), *trail.passed)))]
    if node.op_type in ACTIVATIONS | BY_CONSTANT | MOVES.keys():
        followed = computed[:1] if node.op_type in FIRST_INPUT_ONLY else computed
        return [(source, _Trail(depth=trail.depth)) for source in followed]
    return DeadEnd(name, f"operator {domain}{node.op_type} is not known to follow a head")


def _found(graph: Graph, node: NodeProto, name: str, trail: _Trail, result: Affine | str) -> Chain | DeadEnd:
    if graph.is_inner(name):
        return DeadEnd(name, f"{node.op_type} {node.name!r} lies inside an If, where its tensors can't be read")
    if isinstance(result, str):
        return DeadEnd(name, f"{node.op_type} {node.name!r}: {result}")
    if _is_decision(graph, result.features):
        return DeadEnd(name, f"{node.op_type} {node.name!r} acts on decisions, as of trees, and not on a layer")
    if is_raw_input(graph, result.features):
        return DeadEnd(name, f"{node.op_type} {node.name!r} acts on the model's input: there is no layer before it")
    return build(graph, result, name, trail.passed)
