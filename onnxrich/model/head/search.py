"""Search back from a tensor, through the operators that may follow a head, to the linear layers it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from onnx import NodeProto

from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine, batch_factors, read_affine
from onnxrich.model.head.chain import BY_CONSTANT, CHOOSES_ROWS, MOVES, UNCHANGED, Chain, build_chain
from onnxrich.model.head.combination import SELECTIONS, Base, Combinations, base_of, common_bases
from onnxrich.model.head.quantized import read_quantized
from onnxrich.model.head.tail import (
    AFTER_HEAD,
    DOMAINS,
    SUMMED_AT_ONCE,
    embedding_activation,
    hidden_contraction,
    is_expectation,
    is_fixed_expectation,
    is_probability,
)
from onnxrich.model.validity import STANDARD

# Operators between a tensor and its linear layer, at most.
MAX_DEPTH = 256
# Affine operators that change what the outputs span. All others leave it, or leave out a part of the outputs.
CHANGES_SPAN = {"Add", "BatchNormalization", "Concat", "Mean", "ReduceMean", "ReduceSum", "Sub", "Sum"}


# Operators of which the power spectrum of a signal consists, and those among them that give powers.
POWERS = {"Abs", "Log", "Pow", "ReduceL2", "ReduceSumSquare", "Sqrt"}
SPECTRAL = POWERS | BY_CONSTANT | UNCHANGED | MOVES.keys() | {
    "Clip", "Concat", "Conv", "DFT", "Einsum", "Gemm", "MatMul", "Max", "Neg", "Pad", "STFT", "Split",
}  # fmt: skip


@dataclass(frozen=True)
class DeadEnd:
    """A tensor at which the search stopped, and the reason."""

    tensor: str
    reason: str


@dataclass(eq=False)
class Region:
    """The tensors from which a tensor is computed, back to the linear layers.

    Attributes:
        start: the tensor.
        sources: the tensors from which an operator computes a tensor, for each that is no end.
        layers: the linear layers that were reached, by the name of their output. Behind a base they are no ends.
        dead_ends: other tensors at which the search stopped, by name.
        is_ambiguous: whether a layer acts on a softmax, so that it may be a part of what follows the head.
    """

    start: str
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[str, Affine] = field(default_factory=dict)
    dead_ends: dict[str, DeadEnd] = field(default_factory=dict)
    is_ambiguous: bool = False

    def path_from(self, graph: Graph, tensor: str) -> list[tuple[NodeProto, str]]:
        """List the operators behind a tensor, each with its output, up to the first that reads another tensor too.

        Each of these outputs is a cut: every way from the start back passes it.
        """
        readers: dict[str, list[str]] = {}
        for name, sources in self.sources.items():
            for source in sources:
                readers.setdefault(source, []).append(name)
        path: list[tuple[NodeProto, str]] = []
        while tensor != self.start:
            (reader, *others) = readers.get(tensor) or [""]
            node = graph.producer(reader)
            if others or node is None or set(self.sources[reader]) - set(_choice_of_rows(graph, node)) != {tensor}:
                break
            path.append((node, reader))
            tensor = reader
        return path

    def names_behind(self, tensor: str) -> set[str]:
        """Collect the tensors between a tensor and the start, both included."""
        return walk(self.start, lambda name: () if name == tensor else self.sources.get(name, ()))

    def is_cut(self, tensor: str, base: str) -> bool:
        """Whether every way from the start back to a base passes a tensor before it."""
        return tensor != base and base not in self.names_behind(tensor)

    def nodes_behind(self, graph: Graph, tensor: str) -> list[NodeProto]:
        """List the operators between a tensor and the start."""
        names = self.names_behind(tensor) - {tensor}
        nodes = {id(node): node for name in names if (node := graph.producer(name)) is not None}
        return list(nodes.values())


def search_back(graph: Graph, tensor: str, *, selects: bool = False) -> list[Chain | DeadEnd]:
    """Find the head of a tensor; or else every linear layer that it comes from, and every dead end on the ways back.

    A tensor has a head when all its ways back end at the same linear layer. So the search passes a softmax that was
    decomposed into several operators, but not the sum of two computed tensors.

    Args:
        graph: the graph of the model.
        tensor: the tensor.
        selects: whether outputs of the layer that do not reach the tensor are left out. Not where others need them.
    """
    region = find_region(graph, tensor)
    if len(region.layers) == 1 and not region.dead_ends:
        ((name, affine),) = region.layers.items()
        chain = _to_the_end(graph, region, _chain_of(graph, region, name, affine))
        chain = _select(graph, region, chain) if selects else chain
        return [_verified_tail(graph, region, chain)]
    combined = None if region.is_ambiguous else _combine(graph, region)
    if combined is not None:
        return [combined]
    chains = [_chain_of(graph, region, name, affine) for name, affine in region.layers.items()]
    return [*chains, *region.dead_ends.values()]


def find_between(graph: Graph, features: str, outputs: str) -> Chain | None:
    """Find the affine map between two tensors; None when there is none, or when the graph does not show it."""
    region = find_region(graph, outputs)
    if len(region.layers) == 1 and not region.dead_ends:
        ((name, affine),) = region.layers.items()
        path = region.path_from(graph, name)
        if affine.features == features and (not path or path[-1][1] == outputs):
            chain = build_chain(graph, affine, name, path, is_exact=True)
            if chain.outputs == outputs:
                return chain
    through = find_region(graph, outputs, base=features)
    base = base_of(graph, features, list(through.layers.values()))
    if base is None or through.dead_ends or features not in through.sources:
        return None
    combinations = Combinations(graph, base)
    whole = combinations.affine(outputs)
    if whole is not None:
        return Chain(whole, outputs, whole.outputs_axes)
    for name, affine in _cuts(graph, through, combinations, features):
        chain = build_chain(graph, affine, name, through.path_from(graph, name), is_exact=True)
        if chain.outputs == outputs:
            return chain
    return None


def _combine(graph: Graph, region: Region) -> Chain | DeadEnd | None:
    """Find the combination of linear layers that is a cut of all ways from the start back to their common features.

    The features that come last are tried first, as for a single layer.
    """
    bases = sorted(
        common_bases(graph, list(region.layers.values())), key=lambda base: -graph.positions.get(base.tensor, -1)
    )
    for base in bases:
        through = find_region(graph, region.start, base=base.tensor)
        if through.dead_ends or base.tensor not in through.sources:
            continue
        combinations = Combinations(graph, base)
        for name, affine in _cuts(graph, through, combinations, base.tensor):
            chain = _to_the_end(graph, through, _chain_of(graph, through, name, affine))
            return _verified_tail(graph, through, chain)
    return None


def _cuts(graph: Graph, region: Region, combinations: Combinations, base: str) -> Iterator[tuple[str, Affine]]:
    """Iterate over the combinations that every way from the start back to the base passes, the first to run first."""
    for name in sorted(region.sources, key=lambda name: graph.positions.get(name, -1)):
        affine = combinations.affine(name) if region.is_cut(name, base) else None
        if affine is not None and not region.layers.keys() & (region.names_behind(name) - {name}):
            yield name, affine


def _to_the_end(graph: Graph, region: Region, chain: Chain) -> Chain:
    """Let a chain end at the start when all operators up to there are affine and some change what the outputs span."""
    operators = {node.op_type for node in region.nodes_behind(graph, chain.outputs)}
    if chain.steps or operators & SELECTIONS or not operators & CHANGES_SPAN:
        return chain
    whole = Combinations(graph, _base_of(chain.affine)).affine(region.start)
    return chain if whole is None else Chain(whole, region.start, whole.outputs_axes)


def _select(graph: Graph, region: Region, chain: Chain) -> Chain:
    """Leave out the outputs of a chain that no operator behind it reads."""
    if chain.steps:
        return chain
    path = region.path_from(graph, chain.outputs)
    combinations = Combinations(graph, _base_of(chain.affine))
    for count in range(len(path), 0, -1):
        node, name = path[count - 1]
        affine = combinations.affine(name) if node.op_type in SELECTIONS else None
        if affine is not None and len(affine.bias) < len(chain.affine.bias):
            is_whole = path[-1][1] == region.start
            return build_chain(graph, affine, name, path[count:], is_whole=is_whole)
    return chain


def _base_of(affine: Affine) -> Base:
    return Base(affine.features, affine.features_axes, affine.weight.shape[1], affine.flattened)


def _verified_tail(graph: Graph, region: Region, chain: Chain) -> Chain | DeadEnd:
    """Check the operators behind a chain: they must not hide another layer, nor take other rows of its outputs."""
    behind = region.nodes_behind(graph, chain.outputs)
    hidden = hidden_contraction(graph, behind)
    if hidden is not None:
        reason = f"{hidden.op_type} sums values that constants weigh, so that it may be another layer"
        return DeadEnd(hidden.output[0], reason)
    chooser = next((node for node in behind if _choice_of_rows(graph, node)), None)
    if chooser is not None:
        return DeadEnd(chooser.output[0], f"{chooser.op_type} takes rows by numbers that come from elsewhere")
    return replace(chain, activation=embedding_activation(behind))


def find_region(graph: Graph, start: str, *, base: str | None = None) -> Region:
    """Walk back from a tensor to all linear layers and dead ends; with a base, through the layers to the base."""
    region = Region(start)
    pending = [(start, 0)]
    while pending:
        name, depth = pending.pop()
        if name in region.sources or name in region.layers or name in region.dead_ends:
            continue
        result = () if name == base else _step_back(graph, name, depth, checks_layers=base is None)
        if isinstance(result, DeadEnd):
            region.dead_ends[name] = result
            if base is not None:
                break  # the start is no function of the base
            continue
        goes_on = base is not None
        if isinstance(result, Affine):
            region.layers[name] = result
            may_be_tail = is_probability(graph, result.features)
            if may_be_tail and is_fixed_expectation(graph, result):
                del region.layers[name]
            region.is_ambiguous = region.is_ambiguous or (may_be_tail and not goes_on and name in region.layers)
            goes_on = goes_on or may_be_tail
        if not isinstance(result, Affine) or goes_on:
            result = (result.features,) if isinstance(result, Affine) else result
            region.sources[name] = result
            node = graph.producer(name)
            choice = _choice_of_rows(graph, node) if node is not None else ()
            pending.extend((source, depth + 1) for source in reversed(result) if source not in choice)
    return region


def walk(start: str, sources: Callable[[str], Iterable[str]]) -> set[str]:
    """Collect all tensors that can be reached from a tensor."""
    seen, pending = {start}, [start]
    while pending:
        fresh = set(sources(pending.pop())) - seen
        seen |= fresh
        pending.extend(fresh)
    return seen


def is_raw_input(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is an input of the model, at most reshaped, scaled or shifted, so that no layer precedes it."""
    for _ in range(MAX_DEPTH):
        node = graph.producer(tensor)
        if node is None:
            return tensor in graph.inputs
        computed = graph.data_inputs(node)
        passes = node.op_type in UNCHANGED | MOVES.keys() | BY_CONSTANT | {"Scaler", "Normalizer", "Imputer"}
        if node.domain not in DOMAINS or not passes or not computed:
            return False
        if node.op_type in BY_CONSTANT and len(computed) > 1:
            return False
        tensor = computed[0]
    return False


def _is_fixed_transform(graph: Graph, affine: Affine) -> bool:
    """Whether a layer is a bank of filters on a power spectrum of the input, which nobody trained.

    Its weights are not negative, as those of a mel scale, or it acts on logarithms, as a cosine transform does.
    """
    names = walk(affine.features, lambda name: graph.data_inputs(node) if (node := graph.producer(name)) else ())
    nodes = [node for name in names if (node := graph.producer(name)) is not None]
    operators = {node.op_type for node in nodes}
    is_squared = any(node.op_type == "Mul" and node.input[0] == node.input[1] for node in nodes)
    is_spectrum = operators <= SPECTRAL and (bool(operators & POWERS) or is_squared)
    return is_spectrum and ("Log" in operators or bool((affine.weight >= 0).all()))


def _is_decision(graph: Graph, tensor: str) -> bool:
    """Whether a tensor says which values are equal, as for leaves of trees or entries of tables."""
    for _ in range(MAX_DEPTH):
        node = graph.producer(tensor)
        if node is None or node.op_type not in UNCHANGED | MOVES.keys():
            return node is not None and node.op_type in ("Equal", "OneHot")
        tensor = node.input[0]
    return False


def _step_back(graph: Graph, name: str, depth: int, *, checks_layers: bool) -> tuple[str, ...] | Affine | DeadEnd:
    """Go back over the operator that computes a tensor, to the tensors it reads or to an end of the search."""
    node = graph.producer(name)
    if node is None:
        return DeadEnd(name, "the model's input is reached without a linear layer")
    if depth > MAX_DEPTH:
        return DeadEnd(name, f"no linear layer is among the last {MAX_DEPTH} operators")
    if node.op_type == "LinearClassifier" and name != node.output[-1]:
        return (node.output[-1],)  # the labels are a function of the scores
    if node.op_type in SUMMED_AT_ONCE and node.domain in STANDARD and is_expectation(graph, node):
        return tuple(graph.data_inputs(node))
    affine = read_layer(graph, node)
    if affine is not None:
        return _end_at_layer(graph, node, name, affine, checks_layers=checks_layers)
    if node.op_type == "If" and node.domain in STANDARD:
        index = list(node.output).index(name)
        branches = (entry.g.output[index].name for entry in node.attribute if entry.HasField("g"))
        return (*graph.data_inputs(node), *branches)
    return _sources(graph, node, name)


def read_layer(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Read the affine map of a linear layer of any kind; the reason when it has none, None for other operators."""
    affine = read_affine(graph, node)
    return read_quantized(graph, node) if affine is None else affine


def _sources(graph: Graph, node: NodeProto, name: str) -> tuple[str, ...] | DeadEnd:
    """List the tensors that an operator behind a head reads."""
    sources = tuple(graph.data_inputs(node))
    domain = f"{node.domain}." if node.domain else ""
    is_known = node.op_type in AFTER_HEAD | BY_CONSTANT | UNCHANGED | MOVES.keys()
    if node.domain not in DOMAINS or not is_known:
        return DeadEnd(name, f"operator {domain}{node.op_type} is not known to follow a head")
    if not sources:
        return DeadEnd(name, "it does not depend on the model's input")
    if node.op_type == "BatchNormalization" and batch_factors(graph, node) is None:
        return DeadEnd(name, "BatchNormalization takes its mean from the batch, or its weights from the input")
    return sources


def _choice_of_rows(graph: Graph, node: NodeProto) -> tuple[str, ...]:
    """List the input of an operator that says which rows to take, where data decide that.

    The same choice is made of the rows of φ. So it may come from anywhere.
    """
    if node.op_type not in CHOOSES_ROWS or node.input[0] == node.input[1]:
        return ()
    return () if any(graph.is_fixed(name) for name in node.input[:2]) else (node.input[1],)


def _end_at_layer(
    graph: Graph, node: NodeProto, name: str, affine: Affine | str, *, checks_layers: bool
) -> tuple[str, ...] | Affine | DeadEnd:
    """Take a linear layer as the head, or say why it is none."""
    label = f"{node.op_type} {node.name!r}" if node.name else node.op_type
    if graph.is_inner(name):
        return DeadEnd(name, f"{label} lies inside an If, where its tensors can't be read")
    if isinstance(affine, str):
        return DeadEnd(name, f"{label}: {affine}")
    if not checks_layers:
        return affine
    if _is_decision(graph, affine.features):
        return DeadEnd(name, f"{label} acts on decisions, such as those of trees, and not on a layer")
    if is_raw_input(graph, affine.features):
        return DeadEnd(name, f"{label} acts on the model's input: there is no layer before it")
    if _is_fixed_transform(graph, affine):
        return DeadEnd(name, f"{label} acts on a fixed transform of the model's input, such as a spectrogram")
    return affine


def _chain_of(graph: Graph, region: Region, name: str, affine: Affine) -> Chain:
    """Build the chain of a layer: as far as every way from the start back passes it."""
    path = region.path_from(graph, name)
    return build_chain(graph, affine, name, path, is_whole=not path or path[-1][1] == region.start)
