"""Builder of a patch: adds nodes, inputs and outputs under names that the model does not use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxrich.model.file import Model


def unused_prefix(model: Model) -> str:
    """Find a prefix with which no tensor of the model begins."""
    graph = model.proto.graph
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    names.update(name for node in graph.node for name in node.output)
    prefix = "onnxrich."
    while any(name.startswith(prefix) for name in names):
        prefix = f"_{prefix}"
    return prefix


class Builder:
    """Collects the nodes, inputs and outputs of a patch, in the operator set of the model.

    Args:
        prefix: begins the names of all tensors of the patch.
        opset: version of the model's default operator set.
    """

    def __init__(self, prefix: str, opset: int) -> None:
        self.prefix, self.opset, self.graph = prefix, opset, GraphProto()
        self._count = 0

    def new_name(self, kind: str = "t") -> str:
        """Give a new tensor a name."""
        self._count += 1
        return f"{self.prefix}{kind}{self._count}"

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; returns the name of its output: the prefix and `output`, or a new name."""
        name = self.new_name() if output is None else self.prefix + output
        self.graph.node.append(helper.make_node(operator, inputs, [name], name=f"{name}/{operator}", **attributes))
        return name

    def copy(self, node: NodeProto, tensor: str) -> str:
        """Add a copy of a node that reads another tensor as its first input; returns the name of its output."""
        copy, name = NodeProto(), self.new_name()
        copy.CopyFrom(node)
        copy.input[0], copy.output[:], copy.name = tensor, [name], f"{name}/{node.op_type}"
        self.graph.node.append(copy)
        return name

    def input(self, name: str, shape: list[int | str], elements: int = TensorProto.DOUBLE) -> str:
        """Add an input of the graph; returns its name with the prefix."""
        self.graph.input.append(helper.make_tensor_value_info(self.prefix + name, elements, shape))
        return self.prefix + name

    def output(self, tensor: str, *shape: int | str | None, elements: int = TensorProto.DOUBLE) -> None:
        """Make a tensor an output of the graph. Symbolic dimensions of its shape get the prefix."""
        dimensions = [f"{self.prefix}{size}" if isinstance(size, str) else size for size in shape]
        self.graph.output.append(helper.make_tensor_value_info(tensor, elements, dimensions))

    def constant(self, values: NDArray[Any]) -> str:
        """Add an initializer; returns its name."""
        name = self.new_name("c")
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, values: list[int]) -> str:
        """Add a vector of int64 as an initializer; returns its name."""
        return self.constant(np.array(values, dtype=np.int64))

    def choose(self, table: str, numbers: Sequence[int] | None = None) -> str:
        """The number of the column with the largest entry of each row, or that of these numbers: shape (rows, 1)."""
        columns = self.add("ArgMax", [table], axis=1)
        return columns if numbers is None else self.add("Gather", [self.integers(list(numbers)), columns], axis=0)

    def without_last(self, vector: str) -> str:
        """Drop the last entry of a vector."""
        if self.opset >= 10:
            return self.add("Slice", [vector, self.integers([0]), self.integers([-1])])
        return self.add("Slice", [vector], starts=[0], ends=[-1])

    def without_first_columns(self, table: str, count: int) -> str:
        """Drop the first columns of a table."""
        if self.opset >= 10:
            bounds = [self.integers([value]) for value in (count, np.iinfo(np.int32).max, 1)]
            return self.add("Slice", [table, *bounds])
        return self.add("Slice", [table], axes=[1], starts=[count], ends=[np.iinfo(np.int32).max])

    def row_count(self, table: str) -> str:
        """Count the rows of a table, as a vector of one entry."""
        return self.add("Gather", [self.add("Shape", [table]), self.integers([0])])

    def ones(self, table: str) -> str:
        """Make a column of ones for the rows of a table of shape (rows, width)."""
        if self.opset < 9:  # ConstantOfShape does not exist yet
            first = self.cast(self.add("Slice", [table], axes=[1], starts=[0], ends=[1]), TensorProto.DOUBLE)
            return self.add("Add", [self.add("Sub", [first, first]), self.constant(np.ones((1, 1)))])
        shape = self.add("Concat", [self.row_count(table), self.integers([1])], axis=0)
        return self.add("ConstantOfShape", [shape], value=numpy_helper.from_array(np.ones(1), "value"))

    def cast(self, tensor: str, elements: int, output: str | None = None) -> str:
        """Cast a tensor to another element type."""
        return self.add("Cast", [tensor], output, to=elements)

    def transpose(self, table: str) -> str:
        """Transpose a table."""
        return self.add("Transpose", [table], perm=[1, 0])

    def column(self, tensor: str) -> str:
        """Reshape a tensor to a table of one column."""
        return self.add("Reshape", [tensor, self.integers([-1, 1])])

    def concat(self, tensors: list[str], *, axis: int) -> str:
        """Join tensors along an axis."""
        return tensors[0] if len(tensors) == 1 else self.add("Concat", tensors, axis=axis)

    def split(self, tensor: str, sizes: list[int], *, axis: int) -> list[str]:
        """Cut a tensor along an axis into parts of these sizes; returns their names."""
        if len(sizes) == 1:
            return [tensor]
        name = self.new_name()
        names = [f"{name}.{j}" for j in range(len(sizes))]
        if self.opset >= 13:
            node: NodeProto = helper.make_node("Split", [tensor, self.integers(sizes)], names, axis=axis)
        else:
            node = helper.make_node("Split", [tensor], names, axis=axis, split=sizes)
        self.graph.node.append(node)
        return names

    def reduce(self, operator: str, tensor: str, axes: tuple[int, ...]) -> str:
        """Reduce axes of a tensor, which are then gone, by ReduceSum or ReduceMean."""
        since = 13 if operator == "ReduceSum" else 18
        if self.opset >= since:
            return self.add(operator, [tensor, self.integers(list(axes))], keepdims=0)
        return self.add(operator, [tensor], axes=list(axes), keepdims=0)

    def branch(self) -> Builder:
        """Start a branch, whose nodes can read the tensors of this graph."""
        return Builder(f"{self.prefix}inner.", self.opset)

    def compute_if(self, condition: str, branch: Builder, matrices: list[str], names: list[str]) -> list[str]:
        """Compute the double matrices of a branch if a condition holds, else empty ones.

        Args:
            condition: name of a boolean tensor.
            branch: the nodes of the branch.
            matrices: names in the branch.
            names: names outside, without the prefix.

        Returns:
            The names outside.
        """
        empty = GraphProto(name="nothing")
        for matrix in matrices:
            branch.output(matrix, None, None)
            value = numpy_helper.from_array(np.zeros((0, 0)))
            empty.node.append(helper.make_node("Constant", [], [f"{matrix}.none"], value=value))
            empty.output.append(helper.make_tensor_value_info(f"{matrix}.none", TensorProto.DOUBLE, [0, 0]))
        branch.graph.name = "product"
        outputs = [self.prefix + name for name in names]
        node = helper.make_node(
            "If", [condition], outputs, name=f"{self.prefix}when", then_branch=branch.graph, else_branch=empty
        )
        self.graph.node.append(node)
        return outputs

    def serialize(self) -> bytes:
        """Serialize the patch as a ModelProto."""
        return bytes(ModelProto(graph=self.graph).SerializeToString())
