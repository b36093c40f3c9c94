"""An index of a graph: who makes a tensor, how many axes it has, and what is constant."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxrich.model import Model

STANDARD = ("", "ai.onnx")

# Operators that turn constants into constants on the way to a weight. A list, because the file is untrusted: these can
# neither loop nor make much of little (those that could, Expand and ConstantOfShape, are measured first).
FOLDABLE = frozenset(
    {"Abs", "Add", "Cast", "CastLike", "Clip", "Concat", "ConstantOfShape", "DequantizeLinear", "Div", "Exp", "Expand",
     "Flatten", "Gather", "Identity", "LpNormalization", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
     "ReduceL2", "ReduceMax", "ReduceSum", "ReduceSumSquare", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze",
     "Sub", "Transpose", "Unsqueeze"}
)  # fmt: skip
DEEPEST_CONSTANT = 32
LARGEST_CONSTANT = 2**31
# Tensors above this many elements are left out of shape inference, which needs the values of small ones alone.
SMALL = 1024


class Graph:
    """The main graph of a model, indexed by tensor name; bodies of If too, for a head can be followed through them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        graph = model.proto.graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self.inputs = {value.name for value in graph.input} - self._initializers.keys()
        self.outputs = tuple(value.name for value in graph.output)
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._inner: set[str] = set()
        for node in graph.node:
            self._index_branches(node)

    def _index_branches(self, node: NodeProto, depth: int = 0) -> None:
        if node.op_type != "If" or depth > DEEPEST_CONSTANT:
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

    def is_inner(self, name: str) -> bool:
        """Whether a tensor is made inside the body of an If, where it can't be read."""
        return name in self._inner

    def is_constant(self, name: str, depth: int = 0) -> bool:
        """Whether a tensor is an initializer, a Constant, or made from such by a few foldable operators."""
        if not name or name in self._initializers or name in self._sparse:
            return bool(name)
        node = self._producers.get(name)
        if node is None or depth > DEEPEST_CONSTANT or node.domain not in STANDARD:
            return False
        if node.op_type in ("Constant", "Shape"):
            return node.op_type == "Constant" or self.is_constant(node.input[0], depth + 1)
        return node.op_type in FOLDABLE and all(self.is_constant(source, depth + 1) for source in node.input if source)

    def constant(self, name: str) -> NDArray[Any]:
        """The value of a tensor for which `is_constant` holds."""
        if name in self._initializers:
            return self._load(self._initializers[name])
        if name in self._sparse:
            return _dense(self._sparse[name])
        node = self._producers[name]
        inputs: dict[Any, Any] = {source: self.constant(source) for source in node.input if source}
        if node.op_type == "DequantizeLinear":
            zero = inputs[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(())
            axis = int(attribute(node, "axis", 1))
            return dequantize(inputs[node.input[0]], inputs[node.input[1]], zero, axis)
        if node.op_type in ("Expand", "ConstantOfShape"):
            size = int(np.prod(inputs[node.input[-1]], dtype=np.float64))
            if not 0 <= size <= LARGEST_CONSTANT:
                return np.empty((0, 0))
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_value_info(source, onnx.TypeProto()) for source in inputs],
            [helper.make_value_info(output, onnx.TypeProto()) for output in node.output],
        )
        single = helper.make_model(graph, opset_imports=list(self.model.proto.opset_import))
        results: Any = ReferenceEvaluator(single).run([name], inputs)
        return np.asarray(results[0])

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
            elif node.op_type == "Gather" and node.input[1] in aliases and node.input[0] in self._initializers:
                return int(self._initializers[node.input[0]].dims[0])
        return None

    @cached_property
    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        """What the file and ONNX's shape inference say; inferred once, without the weights."""
        slim = _slim(self.model.proto)
        try:
            graph = onnx.shape_inference.infer_shapes(slim).graph
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
            graph = slim.graph
        known: dict[str, tuple[int | None, ...]] = {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                known[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
        return known

    def _load(self, tensor: TensorProto) -> NDArray[Any]:
        if tensor.data_location == TensorProto.EXTERNAL:
            loaded = TensorProto()
            loaded.CopyFrom(tensor)
            external_data_helper.load_external_data_for_tensor(loaded, str(self.model.folder))
            return numpy_helper.to_array(loaded)
        return numpy_helper.to_array(tensor)


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or the default."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def dequantize(values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any], axis: int) -> NDArray[Any]:
    """(values − zero)·scale, with one scale for all, one a slice along an axis, or one a block of it."""
    wide = values.astype(np.float64)
    factors = []
    for factor in (zero, scale):
        table = np.asarray(factor).astype(np.float64)
        if table.size == 1:
            table = table.reshape(())
        elif table.ndim == 1:
            table = table.reshape([-1 if at == axis % wide.ndim else 1 for at in range(wide.ndim)])
        elif table.shape != wide.shape:
            block = -(-wide.shape[axis] // table.shape[axis])
            table = np.take(np.repeat(table, block, axis=axis), range(wide.shape[axis]), axis=axis)
        factors.append(table)
    result: NDArray[Any] = ((wide - factors[0]) * factors[1]).astype(np.asarray(scale).dtype)
    return result


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


def _dense(tensor: onnx.SparseTensorProto) -> NDArray[Any]:
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    if int(np.prod(tensor.dims, dtype=np.float64)) > LARGEST_CONSTANT:
        return np.empty((0, 0))
    table = np.zeros(tuple(tensor.dims), values.dtype)
    if indices.ndim == 1:
        table.reshape(-1)[indices] = values
    else:
        table[tuple(indices.T)] = values
    return table
