"""The tables of a patch: z = [1, φ, f, y] for the rows of a run, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxrich.model.head.head import Head, View
from onnxrich.model.head.pooling import Pool
from onnxrich.model.patch.builder import Builder


def pooled(build: Builder, tensor: str, how: Pool, width: int) -> str:
    """A layer's tensor as a table of shape (rows, width)."""
    element = TensorProto.DOUBLE if how.double else TensorProto.FLOAT
    tensor = build.add("Cast", [tensor], to=element)
    if how.kind == "mean over positions":
        return _table(build, _over_positions(build, tensor, how), width)
    if how.kind == "mean over tokens":
        return _ordered(build, reduced(build, "ReduceMean", tensor, how.others), how)
    if how.token is not None:
        (axis,) = how.others
        return _ordered(build, build.add("Gather", [tensor, build.constant(np.array(how.token))], axis=axis), how)
    order = [how.samples, *how.others, how.features]
    if order != list(range(how.rank)):
        tensor = build.add("Transpose", [tensor], perm=order)
    if how.mask is not None:
        tensor = build.add("MatMul", [_shares(build, how.mask, element), tensor])
    return tensor if how.rank == 2 else _table(build, tensor, width)


def reduced(build: Builder, operator: str, tensor: str, axes: tuple[int, ...]) -> str:
    """A tensor without some axes, over which a sum or mean is taken."""
    since = 13 if operator == "ReduceSum" else 18
    if build.opset >= since:
        return build.add(operator, [tensor, build.integers(list(axes))], keepdims=0)
    return build.add(operator, [tensor], axes=list(axes), keepdims=0)


def _over_positions(build: Builder, tensor: str, how: Pool) -> str:
    if (how.samples, how.features) == (0, 1) and not how.double:
        # The runtime keeps maps in blocks of channels, which this operator takes as they lie.
        return build.add("GlobalAveragePool", [tensor])
    return _ordered(build, reduced(build, "ReduceMean", tensor, how.others), how)


def _ordered(build: Builder, table: str, how: Pool) -> str:
    return table if how.samples < how.features else build.add("Transpose", [table], perm=[1, 0])


def _table(build: Builder, tensor: str, width: int) -> str:
    return build.add("Reshape", [tensor, build.integers([-1, width])])


def _shares(build: Builder, mask: str, element: int) -> str:
    """What each token weighs in the mean of its sample, of shape (samples, 1, tokens); 0 in one of padding alone."""
    counted = build.add("Cast", [mask], to=element)
    apart = build.add("Reshape", [counted, build.integers([0, 1, -1])])
    totals = build.add("Reshape", [reduced(build, "ReduceSum", apart, (2,)), build.integers([0, 1, 1])])
    one = np.array(1, np.float64 if element == TensorProto.DOUBLE else np.float32)
    if build.opset >= 11:
        most = build.add("Clip", [totals, build.constant(one)])
    else:
        most = build.add("Clip", [totals], min=1.0)
    return build.add("Div", [apart, most])


@dataclass(frozen=True)
class Part:
    """Consecutive entries of z: a tensor of shape (rows, width), of float or double elements."""

    name: str
    width: int
    elements: int = TensorProto.DOUBLE

    @property
    def empty(self) -> NDArray[Any]:
        """The part for no rows."""
        return np.zeros((0, self.width), np.float64 if self.elements == TensorProto.DOUBLE else np.float32)


@dataclass(frozen=True)
class Tables:
    """z, and what else is known of the rows.

    Attributes:
        one: the weight of each row, or ones.
        features: φ.
        outputs: f.
        targets: y; None without labels.
        labels: y, of shape (rows, K).
        fed: inputs by what they are, "weights" and "targets", where there are such.
    """

    one: Part
    features: Part
    outputs: Part
    targets: Part | None
    labels: str
    fed: dict[str, str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of z, in order."""
        return (self.one, self.features, self.outputs, *([self.targets] if self.targets else []))


def lay_out(
    build: Builder,
    head: Head,
    *,
    K: int,
    masked: bool,
    mask: str | None,
    by_row: bool,
    fed: dict[str, str] | None = None,
    elements: int | None = None,
) -> Tables:
    """Adds the nodes that lay z out.

    Arguments are those of `rewrite.instrument`, inputs that are there already, and the type of the outputs' elements.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    # As wide as the head computes: float16 and bfloat16 are contained in float, and float moves half of double's bytes.
    exact = head.affine is None or head.affine.dtype == "float64"
    elements = elements or (TensorProto.DOUBLE if exact else TensorProto.FLOAT)
    pool = head.features.pool
    inner = elements if pool is None else TensorProto.DOUBLE if pool.double else TensorProto.FLOAT
    phi = build.cast(row_table(build, head.features, head.p), inner, "features")
    f = build.cast(row_table(build, head.outputs, head.C), elements, "outputs")
    given = "rows" if by_row else "samples"
    fed = dict(fed or {})
    if masked and "weights" not in fed:
        fed["weights"] = build.input("weights", [given, 1])
    if K and "targets" not in fed:
        fed["targets"] = build.input("targets", [given, K])
    y = build.per_row(fed["targets"], phi, K, by_row=by_row) if K else ""
    return Tables(
        one=Part(_weights(build, phi, fed.get("weights"), mask, by_row=by_row), 1),
        features=Part(phi, head.p, inner),
        outputs=Part(f, head.C, elements),
        targets=Part(y, K) if K else None,
        labels=y,
        fed=fed,
    )


def _weights(build: Builder, table: str, weights: str | None, mask: str | None, *, by_row: bool) -> str:
    """Weights of the rows, of shape (rows, 1): those that are fed, times the mask of the model's own inputs."""
    fed = None if weights is None else build.per_row(weights, table, 1, by_row=by_row)
    one = build.ones(table) if fed is None else build.column(fed)
    if mask is not None:
        one = build.add("Mul", [one, build.cast(build.column(mask), TensorProto.DOUBLE)])
    return one


def row_table(build: Builder, view: View, width: int) -> str:
    """The view as a table of shape (rows, width), in the model's own type."""
    if view.pool is not None:
        build.laid_out = pooled(build, view.tensor, view.pool, width)
        return build.laid_out
    tensor = view.tensor
    if view.scale:
        tensor = build.add("DequantizeLinear", [tensor, *filter(None, view.scale)])
    if view.flat:
        tensor = build.add("Flatten", [tensor], axis=1)
    for step in view.steps:
        tensor = repeat_step(build, step, tensor, width)
    rank, features = view.axes.rank, view.axes.features
    if not view.flat and not view.axes.last and rank is not None:
        order = [axis for axis in range(rank) if axis != features]
        tensor = build.add("Transpose", [tensor], perm=[*order, features])
    if view.samples and rank is not None:
        order = [axis for axis in range(rank) if axis != view.samples]
        tensor = build.add("Transpose", [tensor], perm=[view.samples, *order])
    build.laid_out = build.laid_out or tensor
    if not view.flat and rank != 2:
        tensor = build.add("Reshape", [tensor, build.integers([-1, width])])
    return tensor


def repeat_step(build: Builder, step: NodeProto, tensor: str, width: int) -> str:
    """A step that the outputs went through, applied to a tensor with another number of features."""
    if step.op_type == "Reshape":
        # The target is that of the outputs: its last entry, the number of features, is replaced.
        kept = build.leading(step.input[1])
        return build.add("Reshape", [tensor, build.add("Concat", [kept, build.integers([width])], axis=0)])
    node = NodeProto()
    node.CopyFrom(step)
    build.count += 1
    made = f"{build.mark}t{build.count}"
    node.input[0], node.output[:], node.name = tensor, [made], f"{made}/{step.op_type}"
    build.graph.node.append(node)
    return made
