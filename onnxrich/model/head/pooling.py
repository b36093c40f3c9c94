"""Pooling of hidden layers: how a tensor becomes a table with one row for each sample or token.

The shapes that a run shows decide it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnxrich.model.mask import Mask

Kind = Literal["as it is", "mean over positions", "mean over tokens", "masked mean over tokens", "token", "each row"]


@dataclass(frozen=True)
class Pool:
    """A way to make rows from a tensor.

    Attributes:
        kind: the operation, in words.
        rank: number of axes.
        samples_axis: the axis of samples.
        features_axis: the axis of features.
        mask: the mask of the tokens, for a masked mean.
        token: number of the token to take, counted from the end if negative; None for other kinds.
        is_double: whether the tensor is float64, so that float32 would round it.
    """

    kind: Kind
    rank: int
    samples_axis: int
    features_axis: int
    mask: Mask | None = None
    token: int | None = None
    is_double: bool = False

    @property
    def position_axes(self) -> tuple[int, ...]:
        """The axes of positions or tokens."""
        return tuple(axis for axis in range(self.rank) if axis not in (self.samples_axis, self.features_axis))

    @property
    def description(self) -> str:
        """The kind, with the number of the token."""
        return self.kind if self.token is None else f"token {self.token}"


@dataclass(frozen=True)
class Shapes:
    """Shapes of a tensor in runs: in two runs when the model takes batches of any size.

    Attributes:
        samples: number of samples of each run.
        dims: sizes of the axes in each run.
    """

    samples: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]

    def samples_axis(self) -> int | None:
        """Find the axis whose size is the number of samples in all runs; None when no axis fits."""
        sizes = list(zip(*self.dims, strict=False))
        return next((axis for axis, size in enumerate(sizes) if size == self.samples), None)


def choose_pool(
    shapes: Shapes,
    features_axis: int | None,
    *,
    rows_per_sample: int,
    samples_lead: bool = True,
    mask: tuple[Mask, int] | None,
    token: int | None,
    is_double: bool,
) -> Pool | str:
    """Choose how to make the rows of a layer; returns the reason when no way exists.

    Args:
        shapes: of the layer's tensor.
        features_axis: the axis of features; None means the second of four and more axes, else the last.
        rows_per_sample: rows of a sample in the head; when more than one, layers are read row by row too.
        samples_lead: whether the samples come first in the head's own tensor. Otherwise the order of a layer that has
            samples and tokens on one axis is unknown.
        mask: a mask of tokens, and its number of tokens.
        token: the token to take instead of the mean.
        is_double: whether the tensor is float64.
    """
    dims, rank = shapes.dims[0], len(shapes.dims[0])
    if len({len(run_dims) for run_dims in shapes.dims}) > 1 or rank < 2:
        return f"its shape is {_text(dims)}, which is no table"
    samples = shapes.samples_axis()
    features = (1 if rank > 3 else rank - 1) if features_axis is None else features_axis % rank
    if samples is None:
        merged = rank == 2 and features == 1 and dims[0] == rows_per_sample * shapes.samples[0]
        if rows_per_sample > 1 and merged and samples_lead:
            return Pool("each row", 2, 0, 1, is_double=is_double)
        return _reason_without_samples(shapes)
    if features == samples:
        return f"its features and the samples share an axis of its shape {_text(dims)}"
    if len({run_dims[features] for run_dims in shapes.dims}) > 1:
        return f"its number of features is that of the samples or changes with it, in its shape {_text(dims)}"
    pool = Pool("as it is", rank, samples, features, is_double=is_double)
    count = math.prod(dims[axis] for axis in pool.position_axes)
    if rows_per_sample > 1:
        if count != rows_per_sample:
            return f"it has {count} rows a sample, and the head {rows_per_sample}"
        return replace(pool, kind="each row")
    if count == 1:
        return pool
    if rank == 3 and features == 2:
        return _pool_tokens(pool, count, mask, token)
    return replace(pool, kind="mean over positions")


def _pool_tokens(pool: Pool, count: int, mask: tuple[Mask, int] | None, token: int | None) -> Pool | str:
    if token is not None:
        if not -count <= token < count:
            return f"it has {count} tokens, and no token {token}"
        return replace(pool, kind="token", token=token)
    if mask is not None and mask[1] == count:
        return replace(pool, kind="masked mean over tokens", mask=mask[0])
    return replace(pool, kind="mean over tokens")


def _reason_without_samples(shapes: Shapes) -> str:
    runs = list(zip(shapes.dims, shapes.samples, strict=True))
    for axis in range(len(shapes.dims[0])):
        ratios = {dims[axis] / samples for dims, samples in runs}
        if len(ratios) == 1 and ratios.pop().is_integer() and len(runs) > 1:
            return f"samples share axis {axis} with tokens or positions, in an order that the file doesn't state"
    return f"no axis of its shape {_text(shapes.dims[0])} runs over the samples"


def _text(dims: Sequence[int]) -> str:
    return f"({', '.join(map(str, dims))})"
