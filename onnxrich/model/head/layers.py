"""Hidden layers of a model: the tensors of the graph that hold them, and the axes of their features.

A layer is an affine operator with a constant weight together with its bias, its normalisation and its activation. Its
tensor is the one behind all of these: the runtime fuses them, so that reading it costs nothing. When a layer is only
used in the sum with a residual connection, that sum is the layer's tensor.
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
from onnxrich.model.head.tail import DOMAINS
from onnxrich.model.validity import refuse_malformed

T = TypeVar("T")

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
CONVOLUTIONS = {"Conv", "ConvTranspose", "ConvInteger", "FusedConv", "QLinearConv"}
PRODUCTS = {
    "DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "MatMulNBits", "QGemm", "QLinearMatMul",
}  # fmt: skip
RECURRENT = {"GRU", "LSTM", "RNN"}
# The inputs of which exactly one must be computed in an affine layer; (0, 1) for operators that are not listed.
OPERANDS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3), "QGemm": (0, 3)}
INTEGERS = {TensorProto.BOOL, TensorProto.INT32, TensorProto.INT64}
# The most operators of a layer.
MAX_OPERATORS = 48
# The most layers that `all` selects.
MOST_LAYERS = 64
# The metadata in which torch stores the modules of a node, and the number of characters to read of it.
SCOPES, MAX_SCOPE = "pkg.torch.onnx.name_scopes", 4096


@dataclass(frozen=True)
class LayerTensor:
    """The tensor of a layer.

    Attributes:
        tensor: its name in the graph.
        operator: the operators that compute it, for people.
        scope: the module of the exporting framework; empty when the file doesn't name it.
        features_axis: the axis of features, counted from the end if negative; None when it is not known.
        terms: the tensors of one shape whose sum it is; empty when it is no sum.
    """

    tensor: str
    operator: str
    scope: str = ""
    features_axis: int | None = None
    terms: tuple[str, ...] = ()


@refuse_malformed("A hidden layer")
def layer_tensors(graph: Graph, head: Head) -> list[LayerTensor]:
    """Find the layers between the inputs and the features of a head, in the order in which they run."""
    ancestors = graph.ancestors(head.features.tensor)
    nodes = [node for node in graph.model.proto.graph.node if ancestors.intersection(node.output)]
    follower = _Follower(graph, nodes, head.features.tensor)
    axes = _features_axes(graph, nodes)
    layers: dict[str, LayerTensor] = {}
    for node in nodes:
        if node.output[0] in follower.absorbed or graph.is_inner(node.output[0]):
            continue
        if is_layer(graph, node):
            layer = follower.follow(node, _rescaled(follower, node), axes.get(node.output[0]))
        elif is_sum(graph, node):
            axis = next((axes[name] for name in node.input if name in axes), None)
            layer = replace(follower.follow(node, node.output[0], axis), terms=tuple(node.input))
        else:
            continue
        feeds_only_softmax = all(use.op_type == "Softmax" for use in follower.uses(layer.tensor))
        if not feeds_only_softmax or layer.tensor == follower.goal:
            layers[layer.tensor] = layer
    terms = {name for layer in layers.values() for name in layer.terms}
    return [layer for layer in layers.values() if layer.tensor not in terms or len(follower.uses(layer.tensor)) > 1]


@refuse_malformed("A hidden layer")
def chosen_tensors(graph: Graph, head: Head, names: Sequence[str]) -> list[LayerTensor]:
    """Find the layers of some names, in the order in which they run.

    Args:
        graph: the graph of the model.
        head: its head.
        names: of tensors, or of modules of the exporting framework.

    Raises:
        HeadError: when a name is neither.
    """
    known = layer_tensors(graph, head)
    chosen: dict[str, LayerTensor] = {}
    for name in names:
        layers = [layer for layer in known if name in (layer.tensor, layer.scope)]
        if not layers and name in graph.names and not graph.is_constant(name):
            layers = [_any_tensor(graph, name)]
        if not layers:
            raise _unknown_layer(graph, known, name)
        chosen.update((layer.tensor, layer) for layer in layers)
    order = {name: index for index, node in enumerate(graph.model.proto.graph.node) for name in node.output}
    return sorted(chosen.values(), key=lambda layer: order.get(layer.tensor, -1))


def thin_layers(layers: Sequence[T], most: int = MOST_LAYERS) -> list[T]:
    """Select at most so many layers, evenly spread, with the last among them."""
    count = len(layers)
    if count <= most:
        return list(layers)
    return [layers[count - 1 - (index * (count - 1)) // (most - 1)] for index in reversed(range(most))]


def equals_features(graph: Graph, head: Head, layer: LayerTensor) -> bool:
    """Whether the mean of a layer over its positions equals the features of the head."""
    if any(step.op_type not in MEANS for step in head.features.steps) or head.features.flattened:
        return False
    tensor = head.features.tensor
    while tensor != layer.tensor:
        node = graph.producer(tensor)
        if node is None or node.op_type not in UNCHANGED | MEANS | {"Flatten", "Reshape", "Squeeze"}:
            return False
        tensor = node.input[0]
    return True


def is_layer(graph: Graph, node: NodeProto) -> bool:
    """Whether a node multiplies a computed tensor by a constant one, as layers do."""
    if node.domain not in DOMAINS:
        return False
    if node.op_type == "Einsum":
        return len(node.input) == 2 and len(graph.computed_inputs(node)) == 1
    if node.op_type in RECURRENT:
        return attribute(node, "direction", b"forward") != b"bidirectional" and bool(node.output[0])
    if node.op_type not in CONVOLUTIONS | PRODUCTS:
        return False
    operands = [node.input[index] for index in OPERANDS.get(node.op_type, (0, 1)) if index < len(node.input)]
    return sum(not graph.is_constant(name) for name in operands) == 1


def is_sum(graph: Graph, node: NodeProto) -> bool:
    """Whether a node adds two computed tensors whose shapes may be equal."""
    if node.op_type not in ("Add", "Sum") or len(node.input) != 2 or len(graph.computed_inputs(node)) != 2:
        return False
    if any(graph.element_type(name) in INTEGERS for name in node.input):
        return False
    left, right = (graph.shape(name) for name in node.input)
    ranks = {len(shape) for shape in (left, right) if shape}
    differ = any(None not in sizes and sizes[0] != sizes[1] for sizes in zip(left, right, strict=False))
    return len(ranks) < 2 and not differ and node.input[0] != node.input[1]


class _Follower:
    """Follows layers to their tensors.

    Args:
        graph: the graph of the model.
        nodes: the nodes that compute the features, in order.
        goal: the features, which count as a use of themselves.
    """

    def __init__(self, graph: Graph, nodes: Sequence[NodeProto], goal: str) -> None:
        self._graph, self.goal = graph, goal
        self._uses: dict[str, list[tuple[int, NodeProto]]] = {}
        for index, node in enumerate(nodes):
            for name in set(node.input):
                self._uses.setdefault(name, []).append((index, node))
        self.absorbed: set[str] = set()

    def uses(self, tensor: str) -> list[NodeProto]:
        """List the nodes that read a tensor."""
        return [node for _, node in self._uses.get(tensor, ())]

    def follow(self, layer: NodeProto, start: str, axis: int | None) -> LayerTensor:
        """Find the last tensor that carries all that a layer computes.

        An activation may be written as several operators, as x·½(1 + erf(x/√2)). So operators are absorbed as long as
        all computed inputs come from the layer. Whenever a single tensor has uses outside, it is a result.

        Args:
            layer: the node of the layer.
            start: its output.
            axis: the axis of features there.
        """
        axes: dict[str, int | None] = {start: axis}
        operators: dict[int, str] = {}
        end, length = start, 0
        while len(operators) < MAX_OPERATORS:
            uses = [use for name in axes for use in self._uses.get(name, ()) if use[0] not in operators]
            belonging = [(index, node) for index, node in uses if self._belongs(node, axes)]
            if not belonging:
                break
            index, node = min(belonging, key=lambda use: use[0])
            operators[index] = node.op_type
            axes[node.output[0]] = self._axis_behind(node, axes)
            if node.op_type != "ReduceMean" and self._used_outside(axes, operators) == [node.output[0]]:
                end, length = node.output[0], len(operators)
        self.absorbed.update(list(axes)[1 : length + 1])
        kinds = [layer.op_type, *list(operators.values())[:length]]
        label = "+".join(kinds if len(kinds) < 5 else [kinds[0], kinds[1], "…", kinds[-1]])
        return LayerTensor(end, label, _scope(layer), axes[end])

    def _used_outside(self, tensors: dict[str, int | None], operators: dict[int, str]) -> list[str]:
        """List the tensors that nodes outside the layer read."""
        return [
            name
            for name in tensors
            if name == self.goal or any(index not in operators for index, _ in self._uses.get(name, ()))
        ]

    def _belongs(self, node: NodeProto, axes: dict[str, int | None]) -> bool:
        """Whether a node reads the layer alone, and leaves its rows and features in place."""
        if any(name not in axes for name in self._graph.computed_inputs(node)):
            return False
        axis = axes[next(name for name in node.input if name in axes)]
        if node.op_type == "Transpose":
            return axis is not None and bool(attribute(node, "perm"))
        if node.op_type == "Reshape":
            before, after = (self._graph.shape(name)[-1:] for name in (node.input[0], node.output[0]))
            return axis == -1 and before == after and before not in ((), (None,))
        if node.op_type == "ReduceMean":
            return axis == -1 and bool(attribute(node, "keepdims", 1)) and self._reduces_last_axis(node)
        return node.op_type in ACTIVATIONS | NORMALISATIONS | BY_CONSTANT | UNCHANGED

    def _reduces_last_axis(self, node: NodeProto) -> bool:
        axes = self._graph.constant_integers(node, "axes", 1)
        rank = self._graph.rank(node.input[0])
        return (axes or []) in ([-1], [None if rank is None else rank - 1])

    def _axis_behind(self, node: NodeProto, axes: dict[str, int | None]) -> int | None:
        axis = axes[next(name for name in node.input if name in axes)]
        return axis if node.op_type != "Transpose" or axis is None else _transposed_axis(node, axis)


def _rescaled(follower: _Follower, node: NodeProto) -> str:
    """Find the output of a layer; for integers, the floats behind the Cast and Mul that apply their scale."""
    tensor: str = node.output[0]
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        for expected in ("Cast", "Mul"):
            uses = follower.uses(tensor)
            if len(uses) != 1 or uses[0].op_type != expected:
                break
            tensor = uses[0].output[0]
    return tensor


def _any_tensor(graph: Graph, name: str) -> LayerTensor:
    """Take any computed tensor as a layer. The tensors behind the features have axes of features too."""
    node = graph.producer(name)
    axis = _features_axes(graph, graph.model.proto.graph.node).get(name)
    return LayerTensor(name, node.op_type if node else "input", _scope(node) if node else "", axis)


def _features_axes(graph: Graph, nodes: Sequence[NodeProto]) -> dict[str, int]:
    """Find the axis of features of each tensor for which the graph shows it, as in `LayerTensor`."""
    axes: dict[str, int] = {}
    for node in nodes:
        axis = _features_axis(graph, node, axes)
        if axis is not None:
            axes.update(dict.fromkeys(node.output, axis))
    return axes


def _features_axis(graph: Graph, node: NodeProto, axes: dict[str, int]) -> int | None:
    if node.op_type in CONVOLUTIONS | {"BatchNormalization", "NhwcFusedConv"}:
        channels_last = node.op_type == "NhwcFusedConv" or attribute(node, "channels_last", 0)
        return -1 if channels_last else 1
    if node.op_type in PRODUCTS and is_layer(graph, node):
        # With the weight on the left, features run along the last axis but one.
        return -2 if graph.is_constant(node.input[0]) else -1
    if node.op_type == "Einsum" and is_layer(graph, node):
        return _einsum_axis(graph, node)
    is_embedding = node.op_type == "Gather" and graph.is_constant(node.input[0])
    if node.op_type in RECURRENT | {"LayerNormalization"} or is_embedding:
        return -1
    axis = next((axes[name] for name in node.input if name in axes), None)
    return None if axis is None else _axis_behind(graph, node, axis)


def _axis_behind(graph: Graph, node: NodeProto, axis: int) -> int | None:
    """Find the axis of features behind a node; None when the node removes it."""
    if node.op_type == "Transpose":
        return _transposed_axis(node, axis)
    if node.op_type == "Flatten":
        return -1
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "GatherND"):
        # An axis that is as long as before is the same axis.
        before, after = (graph.shape(name)[axis:][:1] for name in (node.input[0], node.output[0]))
        return axis if before == after and before not in ((), (None,)) else None
    return axis


def _transposed_axis(node: NodeProto, axis: int) -> int | None:
    """Find an axis behind a Transpose, -1 for the last; None when the file doesn't state the order."""
    order = list(attribute(node, "perm") or ())
    if not order:
        return None
    position = order.index(axis % len(order))
    return -1 if position == len(order) - 1 else position


def _einsum_axis(graph: Graph, node: NodeProto) -> int | None:
    """Find the axis of the one label that the weight adds."""
    equation = attribute(node, "equation", b"").decode("utf-8", "replace").replace(" ", "")
    operands, _, result = equation.partition("->")
    terms = operands.split(",")
    if len(terms) != 2 or not result or "." in equation:
        return None
    weight, features = terms if graph.is_constant(node.input[0]) else terms[::-1]
    added = [position for position, label in enumerate(result) if label in weight and label not in features]
    return None if len(added) != 1 else -1 if added[0] == len(result) - 1 else added[0]


def _scope(node: NodeProto) -> str:
    """Read the module of a node from torch's metadata: the last but one of the names that lead to it."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            names = re.findall(r"'([^']*)'", entry.value[:MAX_SCOPE])
            return str(names[-2]) if len(names) > 1 else ""
    return ""


def _unknown_layer(graph: Graph, known: Sequence[LayerTensor], name: str) -> HeadError:
    scopes = (layer.scope for layer in known if layer.scope)
    names = [*(layer.tensor for layer in known), *scopes, *graph.names]
    similar = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
    hint = f"Did you mean one of {similar}? " if similar else ""
    return HeadError(
        f"The model has no layer {name!r}",
        "`all`, or names of tensors or modules",
        f"{hint}`onnxrich inspect MODEL --layers` lists them.",
    )
