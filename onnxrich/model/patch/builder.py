"""The nodes of a patch: how rows, weights and sums are written in ONNX operators, in the operator set of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxrich.model.file import Model


def prefix(model: Model) -> str:
    """A prefix that no tensor of the model begins with."""
    graph = model.proto.graph
    taken = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in node.output)
    mark = "onnxrich."
    while any(name.startswith(mark) for name in taken):
        mark = f"_{mark}"
    return mark


class Builder:
    """Collects nodes, inputs and outputs of a patch, with names of their own."""

    def __init__(self, mark: str, opset: int) -> None:
        self.mark, self.opset, self.graph, self.count = mark, opset, GraphProto(), 0
        self.laid_out = ""

    def add(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        self.count += 1
        made = self.mark + (output or f"t{self.count}")
        node = helper.make_node(operator, inputs, [made], name=f"{made}/{operator}", **attributes)
        self.graph.node.append(node)
        return made

    def input(self, name: str, shape: list[int | str], elements: int = TensorProto.DOUBLE) -> str:
        self.graph.input.append(helper.make_tensor_value_info(self.mark + name, elements, shape))
        return self.mark + name

    def output(self, name: str, *shape: int | str | None, elements: int = TensorProto.DOUBLE) -> None:
        """A tensor as an output of the graph; names in its shape get the mark."""
        marked = [f"{self.mark}{size}" if isinstance(size, str) else size for size in shape]
        self.graph.output.append(helper.make_tensor_value_info(name, elements, marked))

    def constant(self, values: NDArray[Any]) -> str:
        self.count += 1
        name = f"{self.mark}c{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, values: list[int]) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def leading(self, shape: str) -> str:
        """A vector without its last entry."""
        if self.opset >= 10:
            return self.add("Slice", [shape, self.integers([0]), self.integers([-1])])
        return self.add("Slice", [shape], starts=[0], ends=[-1])

    def ones(self, table: str) -> str:
        """A column of ones for the rows of a table of shape (rows, width)."""
        if self.opset < 9:  # there is no operator yet that makes a tensor of a shape
            first = self.cast(self.add("Slice", [table], axes=[1], starts=[0], ends=[1]), TensorProto.DOUBLE)
            return self.add("Add", [self.add("Sub", [first, first]), self.constant(np.ones((1, 1)))])
        rows = self.add("Gather", [self.add("Shape", [table]), self.integers([0])])
        shape = self.add("Concat", [rows, self.integers([1])], axis=0)
        one = numpy_helper.from_array(np.ones(1), "value")
        return self.add("ConstantOfShape", [shape], value=one)

    def shape_output(self) -> str:
        """The shape of the features before their rows are laid out, as an output."""
        made = self.add("Shape", [self.laid_out], "shape")
        self.output(made, "rank", elements=TensorProto.INT64)
        return made

    def per_row(self, values: str, table: str, width: int, *, by_row: bool) -> str:
        """Values of shape (samples, width), repeated for each of a sample's rows: tokens or positions.

        The table, of shape (rows, width), says how many rows there are.
        """
        if by_row:
            return values
        first, one = self.integers([0]), self.integers([1])
        rows = self.add("Gather", [self.add("Shape", [table]), first])
        samples = self.add("Gather", [self.add("Shape", [values]), first])
        repeats = self.add("Concat", [one, self.add("Div", [rows, samples]), one], axis=0)
        apart = self.add("Reshape", [values, self.integers([-1, 1, width])])
        return self.add("Reshape", [self.add("Tile", [apart, repeats]), self.integers([-1, width])])

    def tallies(self, outputs: str, targets: str, weights: str, *, C: int, K: int) -> tuple[str, str]:
        """Sums of `moments.matrix.SCORES`, added to an accumulator of shape (2, 1): its names before and after.

        Outputs, targets and weights have shape (rows, C), (rows, K) and (rows, 1).
        """
        if C == 1:
            zeros = self.add("Sub", [outputs, outputs])
            outputs = self.add("Concat", [zeros, outputs], axis=1)
        hit = self.add("Equal", [self.add("ArgMax", [side], axis=1) for side in (outputs, targets)])
        # In the log of the softmax the runtime takes the largest output out first, as large ones need.
        chosen = self.add("Mul", [self.add("LogSoftmax", [outputs], axis=1), targets])
        loss = self.add("MatMul", [chosen, self.constant(-np.ones((K, 1)))])
        each = self.add("Concat", [self.cast(hit, TensorProto.DOUBLE), loss], axis=1)
        before = self.input("tallies", [2, 1])
        after = self.add("Gemm", [each, weights, before], "tallies.next", transA=1)
        self.output(after, 2, 1)
        return before, after

    def cast(self, tensor: str, elements: int, output: str | None = None) -> str:
        return self.add("Cast", [tensor], output, to=elements)

    def transposed(self, table: str) -> str:
        return self.add("Transpose", [table], perm=[1, 0])

    def column(self, values: str) -> str:
        """Values of whatever shape as a table of shape (their number, 1)."""
        return self.add("Reshape", [values, self.integers([-1, 1])])

    def concat(self, parts: list[str], *, axis: int) -> str:
        return parts[0] if len(parts) == 1 else self.add("Concat", parts, axis=axis)

    def split(self, tensor: str, sizes: list[int], *, axis: int) -> list[str]:
        """A tensor cut along an axis into parts of these sizes."""
        if len(sizes) == 1:
            return [tensor]
        self.count += 1
        made = [f"{self.mark}t{self.count}.{j}" for j in range(len(sizes))]
        if self.opset >= 13:
            node: NodeProto = helper.make_node("Split", [tensor, self.integers(sizes)], made, axis=axis)
        else:
            node = helper.make_node("Split", [tensor], made, axis=axis, split=sizes)
        self.graph.node.append(node)
        return made

    def inner(self) -> Builder:
        """Collects the nodes of a branch, which sees the tensors of this graph."""
        return Builder(f"{self.mark}inner.", self.opset)

    def when(self, condition: str, inner: Builder, made: list[str], names: list[str]) -> list[str]:
        """What a branch makes, matrices in double, where a condition holds; where not, empty matrices."""
        empty = GraphProto(name="nothing")
        for name in made:
            inner.output(name, None, None)
            value = numpy_helper.from_array(np.zeros((0, 0)))
            empty.node.append(helper.make_node("Constant", [], [f"{name}.none"], value=value))
            empty.output.append(helper.make_tensor_value_info(f"{name}.none", TensorProto.DOUBLE, [0, 0]))
        inner.graph.name = "product"
        after = [self.mark + name for name in names]
        node = helper.make_node(
            "If", [condition], after, name=f"{self.mark}when", then_branch=inner.graph, else_branch=empty
        )
        self.graph.node.append(node)
        return after

    def serialize(self) -> bytes:
        return bytes(ModelProto(graph=self.graph).SerializeToString())
