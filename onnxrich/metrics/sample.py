"""One sample of rows, with what several metrics share, each computed once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from onnxrich.moments.matrix import Array, Block, Moments

T = TypeVar("T")


def inner(a: Array, b: Array) -> float:
    """⟨a, b⟩ = Σ_ij a_ij b_ij of two matrices."""
    # Neither a p × p product that is written and read again, nor the threads of BLAS, which on a machine that is busy
    # wait for each other for longer than the sum takes.
    return float(np.einsum("ij,ij->", a, b))


@dataclass(frozen=True, eq=False)
class Part:
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
    parts: tuple[Part, ...] = ()
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

    def cross(self, block: Block) -> Array:
        """C_φg, the centred products of the features with a block: float64 array of shape (p, width)."""
        return self.moments.centered("features", block)
