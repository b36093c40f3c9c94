"""An index of a graph: who makes a tensor, how many axes it has, and what is constant."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxrich.model.constants import Constants
from onnxrich.model.file import Model

DEEPEST_BRANCH = 16
# Tensors above this many elements are left out of shape inference, which needs the values of small ones alone.
SMALL = 1024


class Graph:
    """The main graph of a model, indexed by tensor name; bodies of If too, for a head can be followed through them."""

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
        if node.op_type != "If" or depth > DEEPEST_BRANCH:
            return
        for branch in (entry.g for entry in node.attribute if entry.HasField("g")):
            for inner in branch.node:
                self._producers.update((name, inner) for name in inner.output if name)
                self._inner.update(inner.output)
                self._index_branches(inner, depth + 1)
            self._initializers.update((tensor.name, tensor) for tensor in branch.initializer)

    @cached_property
    def names(self) -> frozenset[str]:
        """All tensor names of the main graph that can be read."""
        return frozenset((self.inputs | self._producers.keys() | self._initializers.keys()) - self._inner)

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs, initializers and unknown names."""
        return self._producers.get(name)

    def computed(self, node: NodeProto) -> list[str]:
        """The inputs of a node that depend on the model's inputs."""
        return [name for name in node.input if name and not self.is_constant(name)]

    def ancestors(self, tensor: str) -> set[str]:
        """The tensors that a tensor is made from, and itself."""
        seen: set[str] = set()
        pending = [tensor]
        while pending:
            name = pending.pop()
            node = self.producer(name)
            if name not in seen:
                seen.add(name)
                pending.extend(node.input if node is not None else ())
        return seen

    def is_inner(self, name: str) -> bool:
        """Whether a tensor is made inside the body of an If, where it can't be read."""
        return name in self._inner

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is an initializer, a Constant, or made from such by a few foldable operators."""
        return self._constants.has(name)

    def constant(self, name: str) -> NDArray[Any]:
        """The value of a tensor for which `is_constant` holds.

        Raises:
            ModelError: when it can't be computed, or would be much larger than the file.
        """
        return self._constants.value(name)

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Dimensions of a tensor where they are known, None each where not; empty where nothing is known."""
        return self._shapes.get(name, ())

    def rank(self, name: str) -> int | None:
        """Number of axes of a tensor, None where it is not known."""
        if name in self._initializers:
            return len(self._initializers[name].dims)
        return len(self._shapes[name]) if name in self._shapes else None

    def rows_looked_up(self, name: str) -> int | None:
        """Number of rows of the table that an index input looks up first, None when it looks up none."""
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

    def element_type(self, name: str) -> int:
        """The type of a tensor's elements, `TensorProto.UNDEFINED` where it is not known."""
        return self._element_types.get(name, TensorProto.UNDEFINED)

    @cached_property
    def _values(self) -> tuple[ValueInfoProto, ...]:
        """What the file and ONNX's shape inference say; inferred once, without the weights."""
        slim = _slim(self.model.proto)
        try:
            graph = onnx.shape_inference.infer_shapes(slim).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            graph = slim.graph
        return (*graph.value_info, *graph.input, *graph.output)

    @cached_property
    def _element_types(self) -> dict[str, int]:
        return {value.name: value.type.tensor_type.elem_type for value in self._values}

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        known: dict[str, tuple[int | None, ...]] = {}
        for value in self._values:
            if value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                known[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        return known


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def _slim(proto: ModelProto) -> ModelProto:
    """The model without its large weights, which become inputs of the same shape."""
    graph = GraphProto(name=proto.graph.name, node=proto.graph.node, input=proto.graph.input, output=proto.graph.output)
    graph.value_info.extend(proto.graph.value_info)
    given = {value.name for value in graph.input}
    for tensor in proto.graph.initializer:
        if np.prod(tensor.dims, dtype=np.float64) <= SMALL and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    slim = ModelProto(ir_version=proto.ir_version, graph=graph, functions=proto.functions)
    slim.opset_import.extend(proto.opset_import)
    return slim
