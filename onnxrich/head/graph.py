"""An index of a graph: who makes a tensor, and what is constant."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxrich.model import Model

# Operators that turn constants into constants on the way to a weight. A short list on purpose: the file is untrusted,
# and these can neither loop nor blow a small tensor up beyond what the file itself declares.
FOLDABLE = frozenset(
    {"Identity", "Transpose", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "DequantizeLinear", "Mul", "Add",
     "Sub", "Div", "Neg", "Sqrt", "Reciprocal", "Concat", "Slice"}
)  # fmt: skip
DEEPEST_CONSTANT = 32


class Graph:
    """The main graph of a model, indexed by tensor name."""

    def __init__(self, model: Model) -> None:
        self.model = model
        graph = model.proto.graph
        self.inputs = {value.name for value in graph.input}
        self.outputs = tuple(value.name for value in graph.output)
        self._initializers = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in self.inputs}
        self._producers = {name: node for node in graph.node for name in node.output if name}

    @cached_property
    def names(self) -> frozenset[str]:
        """All tensor names of the graph."""
        return frozenset(self.inputs | self._producers.keys() | self._initializers.keys())

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs, initializers and unknown names."""
        return self._producers.get(name)

    def is_constant(self, name: str, depth: int = 0) -> bool:
        """Whether a tensor is an initializer, a Constant, or made from such by a few foldable operators."""
        if not name or name in self._initializers:
            return bool(name)
        node = self._producers.get(name)
        if node is None or depth > DEEPEST_CONSTANT:
            return False
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            return True
        foldable = node.domain in ("", "ai.onnx") and node.op_type in FOLDABLE
        return foldable and all(self.is_constant(source, depth + 1) for source in node.input if source)

    def constant(self, name: str) -> NDArray[Any]:
        """The value of a tensor for which `is_constant` holds."""
        if name in self._initializers:
            return self._load(self._initializers[name])
        node = self._producers[name]
        inputs: dict[str, Any] = {source: self.constant(source) for source in node.input if source}
        graph = helper.make_graph(
            [node],
            "constant",
            [helper.make_value_info(source, onnx.TypeProto()) for source in inputs],
            [helper.make_value_info(name, onnx.TypeProto())],
        )
        single = helper.make_model(graph, opset_imports=list(self.model.proto.opset_import))
        return np.asarray(ReferenceEvaluator(single).run([name], inputs)[0])

    def rows_looked_up(self, name: str) -> int | None:
        """Number of rows of the table that an index input looks up first, None when it looks up none."""
        aliases = {name}
        for node in self.model.proto.graph.node:
            if node.op_type in ("Cast", "Identity") and node.input[0] in aliases:
                aliases.add(node.output[0])
            elif node.op_type == "Gather" and node.input[1] in aliases and node.input[0] in self._initializers:
                return int(self._initializers[node.input[0]].dims[0])
        return None

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
