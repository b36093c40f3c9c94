"""How the rows of a hidden layer are written in ONNX operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from onnxrich.model.head.pooling import Pool

if TYPE_CHECKING:
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
