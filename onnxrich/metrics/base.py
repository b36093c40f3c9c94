"""What a metric is: a name, a meaning, and how it is computed from a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np

from onnxrich.moments.matrix import Array, BlockName, Moments

Value = float | int | None

# How far a metric can go, which decides on what scale its interval is computed: shares lie in 0 … 1, positive numbers
# above 0, real ones anywhere; a fact is known without error.
Scale = Literal["share", "positive", "real", "fact"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: its key.
        family: what it is listed under.
        meaning: one line for tables.
        compute: its value for a sample; None where it is undefined.
        scale: where it can lie.
        default: whether it is computed when no metrics are named.
        first_order: for metrics that cost too much to compute for each block left out. Given the whole sample it gives
            a function of nearly the same samples that agrees with the metric to first order in their difference.
        beyond: whether it needs more than the moments of all rows: their blocks, or the model's weights.
        by_number: whether it compares each class with the output of its number; all others are the same however classes
            are numbered.
    """

    name: str
    family: str
    meaning: str
    compute: Callable[[Sample], Value]
    scale: Scale = "real"
    default: bool = True
    first_order: Callable[[Sample], Callable[[Sample], float]] | None = None
    beyond: bool = False
    by_number: bool = False


T = TypeVar("T")


def inner(a: Array, b: Array) -> float:
    """⟨a, b⟩ = Σ_ij a_ij b_ij of two matrices."""
    # Neither a p × p product that is written and read again, nor the threads of BLAS, which on a machine that is busy
    # wait for each other for longer than the sum takes.
    return float(np.einsum("ij,ij->", a, b))


@dataclass(frozen=True, eq=False)
class Block:
    """One block of the rows, with what is asked of it again and again.

    Attributes:
        moments: its moments.
        decisions: number of its rows that a second pass counted, by name of the metric; empty without one.
        judged: number of all rows that it looked at.
    """

    moments: Moments
    decisions: Mapping[str, float] = field(default_factory=dict)
    judged: float = 0.0

    @cached_property
    def squared_norm(self) -> float:
        """‖C_φφ‖_F² about the block's own mean."""
        scatter = self.moments.centered("features", "features")
        return inner(scatter, scatter)

    @cached_property
    def cross(self) -> Array:
        """C_φf about the block's own means: float64 array of shape (p, C)."""
        return self.moments.centered("features", "outputs")


@dataclass(frozen=True, eq=False)
class Sample:
    """The rows that metrics are computed from.

    Attributes:
        moments: their moments.
        parts: the blocks that they are the sum of; empty where blocks were not kept.
        weight: the head's W, float64 array of shape (C, p); None when it is not known.
        parameter_norm: ‖θ‖² of the model; None when it is not known.
        ordered: whether the rows are in an order, so that the blocks are no independent draws.
    """

    moments: Moments
    parts: tuple[Block, ...] = ()
    weight: Array | None = None
    parameter_norm: float | None = None
    ordered: bool = False
    _known: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, compute: Callable[[Sample], T]) -> T:
        """What `compute` gives for this sample, computed the first time only."""
        if compute not in self._known:
            self._known[compute] = compute(self)
        result: T = self._known[compute]
        return result

    @cached_property
    def scatter(self) -> Array:
        """C_φφ, the centred second moments of the features: float64 array of shape (p, p)."""
        return self.moments.centered("features", "features")

    @cached_property
    def squared_norm(self) -> float:
        """‖C_φφ‖_F²."""
        return inner(self.scatter, self.scatter)

    def cross(self, block: BlockName) -> Array:
        """C_φg, the centred products of the features with a block: float64 array of shape (p, width)."""
        return self.moments.centered("features", block)


def sample_of(
    moments: Moments,
    blocks: Iterable[Moments] = (),
    *,
    weight: Array | None = None,
    parameter_norm: float | None = None,
) -> Sample:
    """The sample that metrics are computed from; the arguments are those of `measure`."""
    return Sample(moments, tuple(map(Block, blocks)), weight, parameter_norm)
