"""Hidden layers of a model: which tensors of its graph they give, and along which axis their features run.

A layer is an affine operator with a constant weight and what belongs to it: its bias, its normalisation, its
activation. What it gives is the tensor behind all of these, which costs the runtime nothing to read, for it fuses them.
Where a layer's only use is a sum with what went around it, that sum is what is taken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from onnx import NodeProto, TensorProto

from onnxrich.errors import HeadError
from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.chain import BY_CONSTANT, MEANS, UNCHANGED
from onnxrich.model.head.head import Head
from onnxrich.model.head.search import DOMAINS

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


T = TypeVar("T")

# The inputs of which all but one must be constant for an operator to be an affine layer; others have (0, 1).
OPERANDS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3)}
CONVOLUTIONS = {"Conv", "ConvTranspose", "ConvInteger", "FusedConv", "QLinearConv"}
PRODUCTS = {
    "DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "MatMulNBits", "QGemm", "QLinearMatMul",
}  # fmt: skip
RECURRENT = {"GRU", "LSTM", "RNN"}
INTEGERS = {TensorProto.BOOL, TensorProto.INT32, TensorProto.INT64}
# So many layers `all` takes at most.
MOST_LAYERS = 64
# The metadata in which torch keeps the modules that a node comes from, and how much of it is looked at.
SCOPES, LONGEST_SCOPE = "pkg.torch.onnx.name_scopes", 4096


@dataclass(frozen=True)
class LayerTensor:
    """A tensor that a layer gives.

    Attributes:
        tensor: its name in the graph.
        operator: what makes it, for people.
        scope: the module of the exporting framework that it comes from; empty where the file doesn't say.
        features_axis: the axis that runs over features, counted from the end where it is negative; None when not known.
        terms: the tensors that it is the sum of, which are of one shape; empty for others.
    """

    tensor: str
    operator: str
    scope: str = ""
    features_axis: int | None = None
    terms: tuple[str, ...] = ()


def layer_tensors(graph: Graph, head: Head) -> list[LayerTensor]:
    """The layers between the inputs and the features of a head, in the order in which they run."""
    inside = graph.ancestors(head.features.tensor)
    nodes = [node for node in graph.model.proto.graph.node if inside.intersection(node.output)]
    follower = Follower(graph, nodes, head.features.tensor)
    axes = _axes(graph, nodes)
    found: dict[str, LayerTensor] = {}
    for node in nodes:
        if node.output[0] in follower.absorbed or graph.is_inner(node.output[0]):
            continue
        if is_layer(graph, node):
            start, features = _scaled(follower, node), axes.get(node.output[0])
            site = _site(follower, node, start, features)
        elif is_sum(graph, node):
            known = [axes[name] for name in node.input if name in axes]
            site = replace(_site(follower, node, node.output[0], known[0] if known else None), terms=tuple(node.input))
        else:
            continue
        if not all(use.op_type == "Softmax" for use in follower.uses(site.tensor)) or site.tensor == follower.goal:
            found[site.tensor] = site
    sums = {name for site in found.values() for name in site.terms}
    return [site for site in found.values() if site.tensor not in sums or len(follower.uses(site.tensor)) > 1]


def chosen_tensors(graph: Graph, head: Head, names: Sequence[str]) -> list[LayerTensor]:
    """The layers of some names, in the order in which they run.

    Args:
        graph: where they are.
        head: of the model.
        names: of tensors, or of modules of the exporting framework.

    Raises:
        HeadError: when a name is neither.
    """
    known = layer_tensors(graph, head)
    taken: dict[str, LayerTensor] = {}
    for name in names:
        fitting = [site for site in known if name in (site.tensor, site.scope)]
        if not fitting and name in graph.names and not graph.is_constant(name):
            node = graph.producer(name)
            # Tensors behind the features have axes too.
            axes = _axes(graph, graph.model.proto.graph.node)
            fitting = [
                LayerTensor(name, node.op_type if node else "input", _scope(node) if node else "", axes.get(name))
            ]
        if not fitting:
            raise _unknown(graph, known, name)
        taken.update((site.tensor, site) for site in fitting)
    place = {name: at for at, node in enumerate(graph.model.proto.graph.node) for name in node.output}
    return sorted(taken.values(), key=lambda site: place.get(site.tensor, -1))


def thin_layers(found: Sequence[T], most: int = MOST_LAYERS) -> list[T]:
    """At most so many of the layers, evenly spread, the last among them."""
    count = len(found)
    if count <= most:
        return list(found)
    return [found[count - 1 - (at * (count - 1)) // (most - 1)] for at in reversed(range(most))]


def equals_features(graph: Graph, head: Head, site: LayerTensor) -> bool:
    """Whether the mean of a layer over its positions is what the head has as features."""
    if any(step.op_type not in MEANS for step in head.features.steps) or head.features.flattened:
        return False
    tensor = head.features.tensor
    while tensor != site.tensor:
        node = graph.producer(tensor)
        if node is None or node.op_type not in UNCHANGED | MEANS | {"Flatten", "Reshape", "Squeeze"}:
            return False
        tensor = node.input[0]
    return True


def is_layer(graph: Graph, node: NodeProto) -> bool:
    """Whether a node multiplies something computed by something constant, as layers do."""
    if node.domain not in DOMAINS:
        return False
    if node.op_type == "Einsum":
        return len(node.input) == 2 and len(graph.computed(node)) == 1
    if node.op_type in RECURRENT:
        return attribute(node, "direction", b"forward") != b"bidirectional" and bool(node.output[0])
    if node.op_type not in CONVOLUTIONS | PRODUCTS:
        return False
    operands = [node.input[at] for at in OPERANDS.get(node.op_type, (0, 1)) if at < len(node.input)]
    return sum(not graph.is_constant(name) for name in operands) == 1


def is_sum(graph: Graph, node: NodeProto) -> bool:
    """Whether a node adds two computed tensors that can be of one shape."""
    if node.op_type not in ("Add", "Sum") or len(node.input) != 2 or len(graph.computed(node)) != 2:
        return False
    if any(graph.element_type(name) in INTEGERS for name in node.input):
        return False
    left, right = (graph.shape(name) for name in node.input)
    ranks = {len(shape) for shape in (left, right) if shape}
    apart = any(None not in pair and pair[0] != pair[1] for pair in zip(left, right, strict=False))
    return len(ranks) < 2 and not apart and node.input[0] != node.input[1]


def _site(follower: Follower, node: NodeProto, start: str, features: int | None) -> LayerTensor:
    end, operators, axis = follower.follow(start, features)
    kinds = [node.op_type, *operators]
    label = "+".join(kinds if len(kinds) < 5 else [kinds[0], kinds[1], "…", kinds[-1]])
    return LayerTensor(end, label, _scope(node), axis)


def _scaled(follower: Follower, node: NodeProto) -> str:
    """What a layer gives; for products of integers, the numbers that they stand for, whose scale comes behind them."""
    tensor: str = node.output[0]
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        for expected in ("Cast", "Mul"):
            uses = follower.uses(tensor)
            if len(uses) != 1 or uses[0].op_type != expected:
                break
            tensor = uses[0].output[0]
    return tensor


def _axes(graph: Graph, nodes: Sequence[NodeProto]) -> dict[str, int]:
    """The axis of features of each tensor where it can be told, as in `Site`."""
    known: dict[str, int] = {}
    for node in nodes:
        axis = _axis(graph, node, known)
        if axis is not None:
            known.update(dict.fromkeys(node.output, axis))
    return known


def _axis(graph: Graph, node: NodeProto, known: dict[str, int]) -> int | None:
    before = next((known[name] for name in node.input if name in known), None)
    if node.op_type in CONVOLUTIONS | {"BatchNormalization", "NhwcFusedConv"}:
        last = node.op_type == "NhwcFusedConv" or attribute(node, "channels_last", 0)
        return -1 if last else 1
    if node.op_type in PRODUCTS and is_layer(graph, node):
        # A weight on the left makes features run along the axis before the last.
        return -2 if graph.is_constant(node.input[0]) else -1
    if node.op_type == "Einsum" and is_layer(graph, node):
        return _einsum(graph, node)
    if node.op_type in RECURRENT | {"LayerNormalization"} or (
        node.op_type == "Gather" and graph.is_constant(node.input[0])
    ):
        return -1
    return moved(graph, node, before) if before is not None else None


def moved(graph: Graph, node: NodeProto, axis: int) -> int | None:
    """Where the axis of features is behind a node; None where it is gone."""
    if node.op_type == "Transpose":
        return transposed(node, axis)
    if node.op_type == "Flatten":
        return -1
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "GatherND"):
        # It stays where it is when it can be seen to be as long as before.
        sizes = [graph.shape(name)[axis:][:1] for name in (node.input[0], node.output[0])]
        return axis if sizes[0] == sizes[1] and sizes[0] not in ((), (None,)) else None
    return axis


def _einsum(graph: Graph, node: NodeProto) -> int | None:
    """The axis of the one index that the weight brings."""
    equation = attribute(node, "equation", b"").decode("utf-8", "replace").replace(" ", "")
    left, _, made = equation.partition("->")
    terms = left.split(",")
    if len(terms) != 2 or not made or "." in equation:
        return None
    weight, other = terms if graph.is_constant(node.input[0]) else terms[::-1]
    own = [at for at, index in enumerate(made) if index in weight and index not in other]
    return None if len(own) != 1 else -1 if own[0] == len(made) - 1 else own[0]


def _scope(node: NodeProto) -> str:
    """The module that a node comes from, as torch tells it: the last but one of the names that lead to it."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            names = re.findall(r"'([^']*)'", entry.value[:LONGEST_SCOPE])
            return str(names[-2]) if len(names) > 1 else ""
    return ""


def _unknown(graph: Graph, known: Sequence[LayerTensor], name: str) -> HeadError:
    listed = [*(site.tensor for site in known), *(site.scope for site in known if site.scope), *graph.names]
    near = difflib.get_close_matches(name, listed, n=5, cutoff=0.4)
    hint = f"Did you mean one of {near}? " if near else ""
    return HeadError(
        f"no layer {name!r} in the model",
        "`all`, or names of tensors or modules",
        f"{hint}`onnxrich inspect MODEL --layers` lists them.",
    )
