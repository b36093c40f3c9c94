"""Tables of a patch: the nodes that lay out z = [1, φ, f, y] for the rows of a run, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxrich.model.graph import attribute
from onnxrich.model.head.head import Head, View
from onnxrich.model.head.pooling import Pool
from onnxrich.model.mask import Mask
from onnxrich.model.patch.builder import Builder


@dataclass(frozen=True)
class Part:
    """Consecutive entries of z.

    Attributes:
        name: of a tensor of shape (rows, width).
        width: number of entries.
        elements: element type, float or double.
    """

    name: str
    width: int
    elements: int = TensorProto.DOUBLE

    @property
    def empty(self) -> NDArray[Any]:
        """The part for no rows."""
        return np.zeros((0, self.width), np.float64 if self.elements == TensorProto.DOUBLE else np.float32)


@dataclass(frozen=True)
class Tables:
    """The parts of z, and what else the patch reads of the rows.

    Attributes:
        one: the weight of each row, or ones.
        features: φ.
        outputs: f.
        targets: y; None without labels.
        labels: name of y, of shape (rows, K); empty without labels.
        unmerged: φ and f before their axes are merged into rows, features last.
        row_inputs: names of the inputs "weights" and "targets", those that exist.
    """

    one: Part
    features: Part
    outputs: Part
    targets: Part | None
    labels: str
    unmerged: tuple[str, str]
    row_inputs: dict[str, str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of z, in order."""
        return (self.one, self.features, self.outputs, *([self.targets] if self.targets else []))


def add_tables(
    build: Builder,
    head: Head,
    *,
    K: int,
    masked: bool,
    mask: Mask | None,
    by_row: bool,
    row_inputs: dict[str, str] | None = None,
    elements: int | None = None,
) -> Tables:
    """Add the nodes that lay out z.

    Args:
        build: collects the nodes.
        head: the head.
        K: number of targets.
        masked: whether rows can have weight 0.
        mask: the model's mask of the rows.
        by_row: whether weights and targets come for each row instead of for each sample.
        row_inputs: names of existing inputs for "weights" and "targets".
        elements: element type of the outputs; the head's arithmetic decides when left out.
    """
    # As wide as the head computes: float holds float16 and bfloat16, and moves half the bytes of double.
    exact = head.affine is None or head.affine.dtype == "float64"
    elements = elements or (TensorProto.DOUBLE if exact else TensorProto.FLOAT)
    pool = head.features.pool
    features_elements = elements if pool is None else _elements(pool)
    unmerged = _add_unmerged(build, head.features, head.p), _add_unmerged(build, head.outputs, head.C)
    features = build.cast(_merge_rows(build, head.features, unmerged[0], head.p), features_elements, "features")
    outputs = build.cast(_merge_rows(build, head.outputs, unmerged[1], head.C), elements, "outputs")
    names, rows = dict(row_inputs or {}), "rows" if by_row else "samples"
    if masked and "weights" not in names:
        names["weights"] = build.input("weights", [rows, 1])
    if K and "targets" not in names:
        names["targets"] = build.input("targets", [rows, K])
    targets = _per_row(build, names["targets"], features, K, by_row=by_row) if K else ""
    return Tables(
        one=Part(_row_weights(build, features, names.get("weights"), mask, by_row=by_row), 1),
        features=Part(features, head.p, features_elements),
        outputs=Part(outputs, head.C, elements),
        targets=Part(targets, K) if K else None,
        labels=targets,
        unmerged=unmerged,
        row_inputs=names,
    )


def add_row_table(build: Builder, view: View, width: int) -> str:
    """Add the nodes that read a view as a table of shape (rows, width), in the model's own type."""
    return _merge_rows(build, view, _add_unmerged(build, view, width), width)


def add_logits(build: Builder, outputs: Part) -> str:
    """Cast outputs to double, one column a class: a single output gets a column of zeros before it."""
    logits = build.cast(outputs.name, TensorProto.DOUBLE)
    if outputs.width > 1:
        return logits
    return build.add("Concat", [build.add("Sub", [logits, logits]), logits], axis=1)


def _add_unmerged(build: Builder, view: View, width: int) -> str:
    """Bring a view's tensor into the order samples, tokens or positions, features."""
    if view.pool is not None:
        return _add_pooled(build, view.tensor, view.pool, width)
    tensor = view.tensor
    if view.scale:
        tensor = build.add("DequantizeLinear", [tensor, *filter(None, view.scale)])
    if view.flattened:
        tensor = build.add("Flatten", [tensor], axis=1)
    for step in view.steps:
        tensor = _repeat_step(build, step, tensor, width)
    rank, features_axis = view.axes.rank, view.axes.features
    if not view.flattened and not view.axes.last and rank is not None:
        others = [axis for axis in range(rank) if axis != features_axis]
        tensor = build.add("Transpose", [tensor], perm=[*others, features_axis])
    if view.samples_axis and rank is not None:
        others = [axis for axis in range(rank) if axis != view.samples_axis]
        tensor = build.add("Transpose", [tensor], perm=[view.samples_axis, *others])
    if view.samples_fastest is not None:
        tensor = _separate_samples(build, tensor, width, *view.samples_fastest)
    return tensor


def _separate_samples(build: Builder, table: str, width: int, name: str, axis: int) -> str:
    """Bring a table of shape (tokens · samples, width) into shape (samples, tokens, width); an input counts samples."""
    samples = build.add("Gather", [build.add("Shape", [name]), build.integers([axis])])
    shape = build.add("Concat", [build.integers([-1]), samples, build.integers([width])], axis=0)
    return build.add("Transpose", [build.add("Reshape", [table, shape])], perm=[1, 0, 2])


def _merge_rows(build: Builder, view: View, tensor: str, width: int) -> str:
    """Merge all axes of a view's tensor but the features into rows."""
    has_rows = view.pool is not None or view.flattened or view.axes.rank == 2
    is_table = has_rows and view.samples_fastest is None
    return tensor if is_table else _reshape_to_rows(build, tensor, width)


def _reshape_to_rows(build: Builder, tensor: str, width: int) -> str:
    return build.add("Reshape", [tensor, build.integers([-1, width])])


def _repeat_step(build: Builder, step: NodeProto, tensor: str, width: int) -> str:
    """Apply to a tensor of another number of features a step that the outputs went through."""
    if step.op_type == "GatherElements":
        # The numbers of rows are the same for all features, which come last: those of the first fit any width.
        first = [build.integers([value]) for value in (0, 1, -1)]
        index = build.add("Expand", [build.add("Slice", [step.input[1], *first]), build.integers([width])])
        return build.add("GatherElements", [tensor, index], axis=attribute(step, "axis", 0))
    if step.op_type != "Reshape":
        return build.copy(step, tensor)
    # The target is that of the outputs, whose last entry is the number of features.
    rows = build.without_last(step.input[1])
    return build.add("Reshape", [tensor, build.add("Concat", [rows, build.integers([width])], axis=0)])


def _per_row(build: Builder, values: str, table: str, width: int, *, by_row: bool) -> str:
    """Repeat values of shape (samples, width) for each row of a sample; as many rows as a table has."""
    if by_row:
        return values
    one, rows, samples = build.integers([1]), build.row_count(table), build.row_count(values)
    repeats = build.add("Concat", [one, build.add("Div", [rows, samples]), one], axis=0)
    by_sample = build.add("Reshape", [values, build.integers([-1, 1, width])])
    return _reshape_to_rows(build, build.add("Tile", [by_sample, repeats]), width)


def _row_weights(build: Builder, table: str, weights: str | None, mask: Mask | None, *, by_row: bool) -> str:
    """Weigh the rows, as a table of shape (rows, 1): by the input for weights, times the model's own mask."""
    per_row = None if weights is None else _per_row(build, weights, table, 1, by_row=by_row)
    column = build.ones(table) if per_row is None else build.column(per_row)
    if mask is None:
        return column
    return build.add("Mul", [column, build.column(_kept_tokens(build, mask, TensorProto.DOUBLE))])


def _add_pooled(build: Builder, tensor: str, pool: Pool, width: int) -> str:
    """Read a layer's tensor as a table of shape (rows, width)."""
    tensor = build.cast(tensor, _elements(pool))
    if pool.kind == "mean over positions":
        return _reshape_to_rows(build, _mean_over_positions(build, tensor, pool), width)
    if pool.kind == "mean over tokens":
        return _samples_first(build, build.reduce("ReduceMean", tensor, pool.position_axes), pool)
    if pool.token is not None:
        (axis,) = pool.position_axes
        return _samples_first(
            build, build.add("Gather", [tensor, build.constant(np.array(pool.token))], axis=axis), pool
        )
    order = [pool.samples_axis, *pool.position_axes, pool.features_axis]
    if order != list(range(pool.rank)):
        tensor = build.add("Transpose", [tensor], perm=order)
    if pool.mask is not None:
        tensor = build.add("MatMul", [_token_shares(build, pool.mask, _elements(pool)), tensor])
    return tensor if pool.rank == 2 else _reshape_to_rows(build, tensor, width)


def _elements(pool: Pool) -> int:
    return int(TensorProto.DOUBLE if pool.is_double else TensorProto.FLOAT)


def _mean_over_positions(build: Builder, tensor: str, pool: Pool) -> str:
    if (pool.samples_axis, pool.features_axis) == (0, 1) and not pool.is_double:
        # The runtime stores maps in blocks of channels, which this operator reads without reordering them.
        return build.add("GlobalAveragePool", [tensor])
    return _samples_first(build, build.reduce("ReduceMean", tensor, pool.position_axes), pool)


def _samples_first(build: Builder, table: str, pool: Pool) -> str:
    return table if pool.samples_axis < pool.features_axis else build.transpose(table)


def _kept_tokens(build: Builder, mask: Mask, elements: int) -> str:
    """Lay out a mask as a table of shape (samples, tokens): 1 for tokens that count, 0 for the others."""
    tensor = build.transpose(mask.name) if mask.samples_axis else mask.name
    table = build.add("Reshape", [build.cast(tensor, elements), build.integers([0, -1])])
    table = build.without_first_columns(table, mask.start) if mask.start else table
    if not mask.inverted:
        return table
    one = np.ones(1, np.float64 if elements == TensorProto.DOUBLE else np.float32)
    return build.add("Sub", [build.constant(one), table])


def _token_shares(build: Builder, mask: Mask, elements: int) -> str:
    """Weigh each token in the mean of its sample, shape (samples, 1, tokens); 0 in a sample of padding alone."""
    weights = build.add("Reshape", [_kept_tokens(build, mask, elements), build.integers([0, 1, -1])])
    totals = build.add("Reshape", [build.reduce("ReduceSum", weights, (2,)), build.integers([0, 1, 1])])
    if build.opset >= 11:
        one = np.array(1, np.float64 if elements == TensorProto.DOUBLE else np.float32)
        divisors = build.add("Clip", [totals, build.constant(one)])
    else:
        divisors = build.add("Clip", [totals], min=1.0)
    return build.add("Div", [weights, divisors])
