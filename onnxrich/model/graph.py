"""Index of a graph: the producer, shape and constant value of each tensor."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxrich.model.constants import Constants
from onnxrich.model.file import Model

# Bodies of If inside one another, at most.
MAX_NESTED_BRANCHES = 16
# Elements of the largest tensor whose values shape inference gets: it needs only those of small ones.
SMALL = 1024
# Operators whose outputs tell the shape of their input alone.
SHAPE_READERS = {"Shape", "Size"}
# Operators whose outputs differ from run to run.
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


class Graph:
    """The main graph of a model, indexed by tensor name.

    The bodies of If are indexed too, because a head may lie behind one.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        graph = model.proto.graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name for value in graph.input} - self._initializers.keys()
        self.outputs = tuple(value.name for value in graph.output)
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._inner: set[str] = set()
        for node in graph.node:
            self._index_branches(node)
        self._constants = Constants(model, self._initializers, self._producers)

    def _index_branches(self, node: NodeProto, depth: int = 0) -> None:
        if node.op_type != "If" or depth > MAX_NESTED_BRANCHES:
            return
        for branch in (entry.g for entry in node.attribute if entry.HasField("g")):
            for inner in branch.node:
                self._producers.update((name, inner) for name in inner.output if name)
                self._inner.update(inner.output)
                self._index_branches(inner, depth + 1)
            self._initializers.update((tensor.name, tensor) for tensor in branch.initializer)

    @cached_property
    def names(self) -> frozenset[str]:
        """All tensors of the main graph that can be read."""
        return frozenset((self.inputs | self._producers.keys() | self._initializers.keys()) - self._inner)

    @cached_property
    def positions(self) -> dict[str, int]:
        """The number of the node that computes a tensor, in the order in which the nodes run."""
        return {name: index for index, node in enumerate(self._producers.values()) for name in node.output}

    def producer(self, name: str) -> NodeProto | None:
        """Find the node that computes a tensor; None for inputs, initializers and unknown names."""
        return self._producers.get(name)

    def computed_inputs(self, node: NodeProto) -> list[str]:
        """List the inputs of a node that depend on the model's inputs."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def is_fixed(self, name: str) -> bool:
        """Whether a tensor is constant, or computed from constants and the shapes of others alone.

        Such a tensor is the same for all inputs of one shape, as a range of positions or a fill of zeros.
        """
        return name in self._fixed or self.is_constant(name)

    def data_inputs(self, node: NodeProto) -> list[str]:
        """List the inputs of a node that depend on the values of the model's inputs."""
        return [name for name in dict.fromkeys(node.input) if name and not self.is_fixed(name)]

    def ancestors(self, *tensors: str) -> set[str]:
        """Find the tensors from which some tensors are computed, and these themselves."""
        seen: set[str] = set()
        pending = list(tensors)
        while pending:
            name = pending.pop()
            node = self.producer(name)
            if name not in seen:
                seen.add(name)
                pending.extend(node.input if node is not None else ())
        return seen

    def is_inner(self, name: str) -> bool:
        """Whether a tensor lies inside the body of an If, where it can't be read."""
        return name in self._inner

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initializer, a Constant, or computed from these by a few foldable operators."""
        return self._constants.has(name)

    def constant(self, name: str) -> NDArray[Any]:
        """Compute the value of a tensor for which `is_constant` holds.

        Raises:
            ModelError: when it can't be computed, or would be much larger than the file.
        """
        return self._constants.value(name)

    def constant_integers(self, node: NodeProto, name: str, index: int) -> list[int] | None:
        """Read integers that are an attribute in old operator sets and an input in new ones; None when not constant."""
        values = attribute(node, name)
        if values is None and len(node.input) > index and node.input[index] and self.is_constant(node.input[index]):
            values = self.constant(node.input[index]).reshape(-1).tolist()
        return None if values is None else [int(value) for value in values]

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Look up the dimensions of a tensor, with None for each unknown one; empty when the rank is unknown."""
        return self._shapes.get(name, ())

    def rank(self, name: str) -> int | None:
        """Look up the number of axes of a tensor; None when it is not known."""
        if name in self._initializers:
            return len(self._initializers[name].dims)
        return len(self._shapes[name]) if name in self._shapes else None

    def element_type(self, name: str) -> int:
        """Look up the type of a tensor's elements; `TensorProto.UNDEFINED` when it is not known."""
        return self._element_types.get(name, TensorProto.UNDEFINED)

    def rows_looked_up(self, name: str) -> int | None:
        """Count the rows of the first table in which an input of indices looks up; None when it looks up in none."""
        aliases = {name}
        for node in self.model.proto.graph.node:
            if node.op_type in ("Cast", "Identity") and node.input[0] in aliases:
                aliases.add(node.output[0])
            elif (
                node.op_type == "Gather"
                and attribute(node, "axis", 0) == 0
                and node.input[1] in aliases
                and self.rank(node.input[0])
                and node.input[0] in self._initializers
            ):
                return int(self._initializers[node.input[0]].dims[0])
        return None

    @cached_property
    def _fixed(self) -> frozenset[str]:
        """Tensors that operators compute from constants and shapes alone. Nodes come in the order in which they run."""
        fixed: set[str] = set()
        for node in self._producers.values():
            sources = [name for name in node.input if name]
            follows = sources and all(name in fixed or self.is_constant(name) for name in sources)
            hides = node.op_type in RANDOM or any(entry.HasField("g") for entry in node.attribute)
            if node.op_type in SHAPE_READERS or (follows and not hides):
                fixed.update(node.output)
        return frozenset(fixed)

    @cached_property
    def _values(self) -> tuple[ValueInfoProto, ...]:
        """Types and shapes from the file and from ONNX's shape inference, which runs once, without the weights."""
        light = _without_weights(self.model.proto)
        try:
            graph = onnx.shape_inference.infer_shapes(light).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            graph = light.graph
        return (*graph.value_info, *graph.input, *graph.output)

    @cached_property
    def _element_types(self) -> dict[str, int]:
        return {value.name: value.type.tensor_type.elem_type for value in self._values}

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        shapes: dict[str, tuple[int | None, ...]] = {}
        for value in self._values:
            if value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        return shapes


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Read an attribute of a node, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def _without_weights(proto: ModelProto) -> ModelProto:
    """Copy a model, with inputs of the same shape in place of its large weights."""
    graph = GraphProto(name=proto.graph.name, node=proto.graph.node, input=proto.graph.input, output=proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    inputs = {value.name for value in graph.input}
    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims, dtype=np.float64) <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    light = ModelProto(ir_version=proto.ir_version, graph=graph, functions=proto.functions)
    light.opset_import.extend(proto.opset_import)
    return light
