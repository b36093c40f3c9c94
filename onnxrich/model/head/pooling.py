"""How a hidden layer's tensor becomes a table a row a sample or a token: decided from shapes that a run showed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["as it is", "mean over positions", "mean over tokens", "masked mean over tokens", "token", "each row"]


@dataclass(frozen=True)
class Pool:
    """How rows are made from a tensor.

    Attributes:
        kind: what is done, in words.
        rank: number of axes.
        samples: the axis that runs over samples.
        features: the axis that runs over features.
        mask: input that is 0 for tokens to be left out; for a masked mean.
        token: number of the token that is taken, counted from the end where it is negative; None for others.
        double: whether the tensor is float64, so that float32 would round it.
    """

    kind: Kind
    rank: int
    samples: int
    features: int
    mask: str | None = None
    token: int | None = None
    double: bool = False

    @property
    def others(self) -> tuple[int, ...]:
        """The axes that run over positions or tokens."""
        return tuple(axis for axis in range(self.rank) if axis not in (self.samples, self.features))

    @property
    def words(self) -> str:
        """The kind, and which token."""
        return self.kind if self.token is None else f"token {self.token}"


@dataclass(frozen=True)
class Shapes:
    """Shapes of a tensor in runs of so many samples: two runs where the model takes batches of any size.

    Attributes:
        samples: number of samples of each run.
        dims: sizes of the axes in each.
    """

    samples: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]

    def samples_axis(self) -> int | None:
        """The axis whose size is the number of samples in all runs; None when there is none."""
        sizes = list(zip(*self.dims, strict=False))
        return next((axis for axis, size in enumerate(sizes) if size == self.samples), None)


def pool(
    shapes: Shapes, features: int | None, *, each: int, mask: tuple[str, int] | None, token: int | None, double: bool
) -> Pool | str:
    """How the rows of a layer are made, or the reason why they can't be.

    Args:
        shapes: of its tensor.
        features: the axis of features; the second of four axes and more, else the last, when not known.
        each: rows that a sample has in the head; where they are more than one, layers are read row by row too.
        mask: an input that is 0 for tokens to be left out, and the number of tokens that it has.
        token: which token to take instead of their mean.
        double: whether the tensor is float64.
    """
    dims, rank = shapes.dims[0], len(shapes.dims[0])
    if len({len(other) for other in shapes.dims}) > 1 or rank < 2:
        return f"its shape is {_shape(dims)}, which is no table"
    samples = shapes.samples_axis()
    at = (1 if rank > 3 else rank - 1) if features is None else features % rank
    if samples is None and each > 1 and rank == 2 and at == 1 and dims[0] == each * shapes.samples[0]:
        return Pool("each row", 2, 0, 1, double=double)
    if samples is None:
        return _no_samples(shapes)
    if at == samples:
        return f"its features and the samples share an axis of its shape {_shape(dims)}"
    if len({other[at] for other in shapes.dims}) > 1:
        return f"its number of features is that of the samples or changes with it, in its shape {_shape(dims)}"
    others = [axis for axis in range(rank) if axis not in (samples, at)]
    count = math.prod(dims[axis] for axis in others)
    if each > 1:
        if count != each:
            return f"it has {count} rows a sample, and the head {each}"
        return Pool("each row", rank, samples, at, double=double)
    if count == 1:
        return Pool("as it is", rank, samples, at, double=double)
    if rank == 3 and at == 2:
        return _tokens(Pool("mean over tokens", rank, samples, at, double=double), count, mask, token)
    return Pool("mean over positions", rank, samples, at, double=double)


def _tokens(mean: Pool, count: int, mask: tuple[str, int] | None, token: int | None) -> Pool | str:
    place = mean.rank, mean.samples, mean.features
    if token is not None:
        if not -count <= token < count:
            return f"it has {count} tokens, and no token {token}"
        return Pool("token", *place, token=token, double=mean.double)
    if mask is not None and mask[1] == count:
        return Pool("masked mean over tokens", *place, mask=mask[0], double=mean.double)
    return mean


def _no_samples(shapes: Shapes) -> str:
    runs = list(zip(shapes.dims, shapes.samples, strict=True))
    for axis in range(len(shapes.dims[0])):
        each = {dims[axis] / samples for dims, samples in runs}
        if len(each) == 1 and each.pop().is_integer() and len(runs) > 1:
            return f"samples share axis {axis} with tokens or positions, in an order that the file doesn't tell"
    return f"no axis of its shape {_shape(shapes.dims[0])} runs over the samples"


def _shape(dims: Sequence[int]) -> str:
    return f"({', '.join(map(str, dims))})"
