"""The patch: a small protobuf message that, appended to a model's bytes, makes it yield its head and its moments.

protobuf merges concatenated messages, and a repeated field is appended to. So `model bytes + patch bytes` is the model
with further nodes, inputs and outputs: no decode and re-encode of the weights, and what was changed can be read on its
own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxrich.head import Head, View
from onnxrich.model import Model
from onnxrich.moments import METADATA, Array, from_panels

# Columns of one block row of the moment matrix. Only the blocks on and above the diagonal are computed: with b block
# rows (b + 1)/2b of the product's cost. Narrower blocks than this make the product itself slower.
PANEL = 256
MOST_PANELS = 8


@dataclass(frozen=True)
class Patch:
    """What to append to a model, and the names by which to drive it.

    Each run takes one batch and the accumulators, and gives the next accumulators. Accumulator j is the block row
    Σ w (z − shift)[edges[j]:edges[j+1]] (z − shift)[edges[j]:]ᵀ of the moment matrix. With `counts`, a last one of
    shape (1, 1) holds the number of rows whose largest output is that of their class.

    Attributes:
        data: serialized ModelProto.
        features: output, float64 of shape (rows, p).
        outputs: output, float64 of shape (rows, C).
        shape: output, the shape of φ before its rows are laid out.
        weights: input, float64 of shape (samples or rows, 1): 1, or 0 for padding; None where all rows count.
        targets: input, float64 of shape (samples or rows, K); None without labels.
        shift: input, float64 of shape (1, d).
        accumulators: inputs.
        accumulated: outputs, in the order of `accumulators`.
        edges: first columns of the block rows, and d at the end.
    """

    data: bytes
    features: str
    outputs: str
    shape: str
    weights: str | None
    targets: str | None
    shift: str
    accumulators: tuple[str, ...]
    accumulated: tuple[str, ...]
    edges: tuple[int, ...]
    counts: bool

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the accumulators."""
        rows = tuple(
            (stop - start, self.edges[-1] - start) for start, stop in zip(self.edges, self.edges[1:], strict=False)
        )
        return rows + ((1, 1),) * self.counts

    def correct(self, accumulated: Sequence[Array]) -> float | None:
        """The number of rows whose largest output is that of their class, where it is counted."""
        return float(accumulated[-1][0, 0]) if self.counts else None

    def matrix(self, accumulated: Sequence[Array]) -> Array:
        """The symmetric moment matrix, float64 of shape (d, d), from the accumulated block rows."""
        return from_panels(accumulated[: len(accumulated) - self.counts])


def expose_raw(model: Model, head: Head) -> bytes:
    """The patch that adds the tensors of a head as outputs, as they are, in double: for measuring their shapes."""
    graph = GraphProto()
    for view, name in ((head.features, "features"), (head.outputs, "outputs")):
        made = f"{prefix(model)}{name}"
        graph.node.append(helper.make_node("Cast", [view.tensor], [made], to=TensorProto.DOUBLE))
        graph.output.append(ValueInfoProto(name=made))
    return bytes(ModelProto(graph=graph).SerializeToString())


def expose(model: Model, head: Head) -> tuple[bytes, tuple[str, str]]:
    """The patch that adds the head's rows as float32 outputs of shape (rows, p) and (rows, C), and their names.

    Requires a head whose widths p and C are known; ensures that no name of the model is taken.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = _Builder(prefix(model), model.opset)
    names = []
    for view, width, name in ((head.features, head.p, "features"), (head.outputs, head.C, "outputs")):
        rows = build.rows(view, width, f"double.{name}")
        made = build.add("Cast", [rows], name, to=TensorProto.FLOAT)
        build.output(made, width, dtype=TensorProto.FLOAT)
        names.append(made)
    return build.serialize(), (names[0], names[1])


def portable(model: Model, head: Head, shift: Array | None, residual: float | None) -> Patch:
    """The patch that adds moments as accumulators, for any runtime: no input but these, the shift a constant.

    What is needed to read the moments stands in the model's metadata, see `Moments.from_accumulators`.

    Args:
        model: the model.
        head: its head, with p and C known.
        shift: float64 array of shape (1 + p + C,), the mean of some rows; zero when left out.
        residual: relative residual of the head's check.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    about = np.zeros(1 + head.p + head.C) if shift is None else shift
    patch = instrument(model, head, shift=about)
    affine = head.affine
    told = {
        "sizes": [head.p, head.C],
        "shift": about.tolist(),
        "dtype": affine.dtype if affine else "float32",
        "residual": residual or 0.0,
        "features": head.features.tensor,
        "outputs": head.outputs.tensor,
    }
    metadata = ModelProto()
    metadata.metadata_props.add(key=METADATA, value=json.dumps(told))
    return replace(patch, data=patch.data + metadata.SerializeToString())


def instrument(
    model: Model,
    head: Head,
    *,
    K: int = 0,
    count: bool = False,
    masked: bool = False,
    mask: str | None = None,
    by_row: bool = False,
    shift: Array | None = None,
) -> Patch:
    """The patch that adds the head's rows as outputs, and the moments as accumulators.

    Requires a head whose widths p and C are known; ensures that no name of the model is taken.

    Args:
        model: the model.
        head: its head, with p and C known.
        K: number of targets.
        count: whether to count the rows whose largest output is that of their class.
        masked: whether rows can have weight 0; costs one more pass over the rows.
        mask: input of the model that is 0 for rows to be left out, 1 for the others.
        by_row: whether weights and targets come for each row, not for each sample.
        shift: float64 array of shape (d,) to fix as a constant; then the accumulators are the patch's only outputs.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = _Builder(prefix(model), model.opset)
    phi, f = build.rows(head.features, head.p, "features"), build.rows(head.outputs, head.C, "outputs")
    given = "rows" if by_row else "samples"
    weights = build.input("weights", [given, 1]) if masked else None
    parts = [build.ones(phi) if weights is None else build.per_row(weights, phi, 1, by_row=by_row), phi, f]
    if mask is not None:
        counted = build.add("Cast", [build.add("Reshape", [mask, build.integers([-1, 1])])], to=TensorProto.DOUBLE)
        parts[0] = build.add("Mul", [parts[0], counted])
    targets = build.input("targets", [given, K]) if K else None
    if targets:
        parts.append(build.per_row(targets, phi, K, by_row=by_row))
    d = 1 + head.p + head.C + K
    about = build.input("shift", [1, d]) if shift is None else build.constant(shift.reshape(1, d))
    z = build.add("Sub", [build.add("Concat", parts, axis=1), about])
    if masked:
        z = build.add("Mul", [z, parts[0]])
    edges = panel_edges(d)
    pairs = build.moments(z, edges)
    if count:
        pairs.append(build.hits(f, parts[-1], parts[0], head.C))
    shape = build.shape_output() if shift is None else ""
    if shift is None:
        build.output(phi, head.p)
        build.output(f, head.C)
    return Patch(
        data=build.serialize(),
        features=phi,
        outputs=f,
        shape=shape,
        weights=weights,
        targets=targets,
        shift=about,
        accumulators=tuple(before for before, _ in pairs),
        accumulated=tuple(after for _, after in pairs),
        edges=edges,
        counts=count,
    )


def panel_edges(d: int) -> tuple[int, ...]:
    """Where the block rows of a d × d moment matrix begin, and d at the end."""
    count = min(MOST_PANELS, max(1, d // PANEL))
    return tuple(int(edge) for edge in np.linspace(0, d, count + 1))


def prefix(model: Model) -> str:
    """A prefix that no tensor of the model begins with."""
    graph = model.proto.graph
    taken = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in node.output)
    mark = "onnxrich."
    while any(name.startswith(mark) for name in taken):
        mark = f"_{mark}"
    return mark


class _Builder:
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

    def input(self, name: str, shape: list[int | str]) -> str:
        self.graph.input.append(helper.make_tensor_value_info(self.mark + name, TensorProto.DOUBLE, shape))
        return self.mark + name

    def output(self, name: str, width: int, rows: int | None = None, dtype: int = TensorProto.DOUBLE) -> None:
        shape = [f"{self.mark}rows" if rows is None else rows, width]
        self.graph.output.append(helper.make_tensor_value_info(name, dtype, shape))

    def constant(self, values: NDArray[Any]) -> str:
        self.count += 1
        name = f"{self.mark}c{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def integers(self, values: list[int]) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def rows(self, view: View, width: int, name: str) -> str:
        """The view as a float64 table of shape (rows, width)."""
        tensor = view.tensor
        if view.scale:
            tensor = self.add("DequantizeLinear", [tensor, *filter(None, view.scale)])
        if view.flat:
            tensor = self.add("Flatten", [tensor], axis=1)
        for step in view.steps:
            tensor = self.repeat(step, tensor, width)
        rank, features = view.axes.rank, view.axes.features
        if not view.flat and not view.axes.last and rank is not None:
            order = [axis for axis in range(rank) if axis != features]
            tensor = self.add("Transpose", [tensor], perm=[*order, features])
        if view.samples and rank is not None:
            order = [axis for axis in range(rank) if axis != view.samples]
            tensor = self.add("Transpose", [tensor], perm=[view.samples, *order])
        self.laid_out = self.laid_out or tensor
        if not view.flat and rank != 2:
            tensor = self.add("Reshape", [tensor, self.integers([-1, width])])
        return self.add("Cast", [tensor], name, to=TensorProto.DOUBLE)

    def repeat(self, step: NodeProto, tensor: str, width: int) -> str:
        """A step that the outputs went through, applied to a tensor with another number of features."""
        if step.op_type == "Reshape":
            # The target is that of the outputs: its last entry, the number of features, is replaced.
            kept = self.leading(step.input[1])
            return self.add("Reshape", [tensor, self.add("Concat", [kept, self.integers([width])], axis=0)])
        node = NodeProto()
        node.CopyFrom(step)
        self.count += 1
        made = f"{self.mark}t{self.count}"
        node.input[0], node.output[:], node.name = tensor, [made], f"{made}/{step.op_type}"
        self.graph.node.append(node)
        return made

    def leading(self, shape: str) -> str:
        """A vector without its last entry."""
        if self.opset >= 10:
            return self.add("Slice", [shape, self.integers([0]), self.integers([-1])])
        return self.add("Slice", [shape], starts=[0], ends=[-1])

    def ones(self, table: str) -> str:
        """A column of ones, as long as a table of shape (rows, width)."""
        if self.opset < 9:  # there is no operator yet that makes a tensor of a shape
            square = self.add("Slice", [table], axes=[1], starts=[0], ends=[1])
            return self.add("Add", [self.add("Sub", [square, square]), self.constant(np.ones((1, 1)))])
        rows = self.add("Gather", [self.add("Shape", [table]), self.integers([0])])
        shape = self.add("Concat", [rows, self.integers([1])], axis=0)
        one = numpy_helper.from_array(np.ones(1), "value")
        return self.add("ConstantOfShape", [shape], value=one)

    def shape_output(self) -> str:
        """The shape of the features before their rows are laid out, as an output."""
        made = self.add("Shape", [self.laid_out], "shape")
        self.graph.output.append(helper.make_tensor_value_info(made, TensorProto.INT64, [f"{self.mark}rank"]))
        return made

    def per_row(self, values: str, table: str, width: int, *, by_row: bool) -> str:
        """Values of shape (samples, width), repeated for each of a sample's rows: tokens or positions."""
        if by_row:
            return values
        first, one = self.integers([0]), self.integers([1])
        rows, samples = (self.add("Gather", [self.add("Shape", [name]), first]) for name in (table, values))
        repeats = self.add("Concat", [one, self.add("Div", [rows, samples]), one], axis=0)
        apart = self.add("Reshape", [values, self.integers([-1, 1, width])])
        return self.add("Reshape", [self.add("Tile", [apart, repeats]), self.integers([-1, width])])

    def moments(self, z: str, edges: tuple[int, ...]) -> list[tuple[str, str]]:
        """Block rows of zᵀz, each added to its accumulator: names of the accumulators before and after."""
        parts = self._split(z, edges)
        pairs = []
        for j, part in enumerate(parts):
            later = z if j == 0 else part if j == len(parts) - 1 else self.add("Concat", parts[j:], axis=1)
            height, width = edges[j + 1] - edges[j], edges[-1] - edges[j]
            before = self.input(f"moments.{j}", [height, width])
            after = self.add("Gemm", [part, later, before], f"moments.{j}.next", transA=1)
            self.output(after, width, rows=height)
            pairs.append((before, after))
        return pairs

    def hits(self, outputs: str, targets: str, weights: str, C: int) -> tuple[str, str]:
        """Σ w [prediction = class], added to an accumulator: its names before and after."""
        if C > 1:
            predicted = self.add("ArgMax", [outputs], axis=1)
        else:
            zero = self.constant(np.zeros((1, 1)))
            predicted = self.add("Cast", [self.add("Greater", [outputs, zero])], to=TensorProto.INT64)
        hit = self.add("Equal", [predicted, self.add("ArgMax", [targets], axis=1)])
        before = self.input("correct", [1, 1])
        after = self.add(
            "Gemm", [self.add("Cast", [hit], to=TensorProto.DOUBLE), weights, before], "correct.next", transA=1
        )
        self.output(after, 1, rows=1)
        return before, after

    def _split(self, z: str, edges: tuple[int, ...]) -> list[str]:
        if len(edges) == 2:
            return [z]
        sizes = np.diff(edges).tolist()
        made = [f"{self.mark}part.{j}" for j in range(len(sizes))]
        if self.opset >= 13:
            node: NodeProto = helper.make_node("Split", [z, self.integers(sizes)], made, axis=1)
        else:
            node = helper.make_node("Split", [z], made, axis=1, split=sizes)
        self.graph.node.append(node)
        return made

    def serialize(self) -> bytes:
        return bytes(ModelProto(graph=self.graph).SerializeToString())
