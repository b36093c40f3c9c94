"""Metrics and the samples that they are computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

import numpy as np

from onnxrich.metrics.functions import OutputBasis, find_output_basis
from onnxrich.moments.matrix import Array, Moments

Value = float | int | None
T = TypeVar("T")

# Range of a metric, which decides the scale of its interval: a share lies in 0 … 1, a positive number above 0, a real
# number anywhere. A clipped number is an estimate of a share that scatters around 0 or 1 too, and is cut off there. A
# fact has no error.
Scale = Literal["share", "clipped", "positive", "real", "fact"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: its key.
        family: heading of tables that it is listed under.
        meaning: one line for tables.
        compute: its value for a sample; None if it is undefined.
        scale: its range.
        is_default: whether it is computed if the user names no metric.
        first_order: for a metric that is too costly to compute without each block in turn. It takes the whole sample,
            and returns a function of samples of some of its blocks that agrees with the metric to first order in their
            difference.
        needs_more_than_moments: whether it needs blocks of rows or the model's weights beside the moments of all rows.
        depends_on_numbering: whether it compares each class with the output of the same number, so that another
            numbering of the classes changes it.
    """

    name: str
    family: str
    meaning: str
    _: KW_ONLY
    compute: Callable[[Sample], Value]
    scale: Scale = "real"
    is_default: bool = True
    first_order: Callable[[Sample], Callable[[Sample], float]] | None = None
    needs_more_than_moments: bool = False
    depends_on_numbering: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """One block of the rows, with cached quantities that several metrics need.

    Attributes:
        moments: its moments, about the shift of all rows if there is a basis.
        basis: functions that span the outputs of all rows; None if that is the outputs themselves.
        decisions: number of its rows that a second pass counted, by name of the metric; empty without a second pass.
        decided_rows: number of its rows that the second pass went through.
    """

    moments: Moments
    basis: OutputBasis | None = None
    decisions: Mapping[str, float] = field(default_factory=dict)
    decided_rows: float = 0.0

    @cached_property
    def squared_norm(self) -> float:
        """‖C_φφ‖_F² about the block's own mean."""
        scatter = self.moments.centered("features", "features")
        return inner_product(scatter, scatter)

    @cached_property
    def functions(self) -> Moments:
        """Its moments with the functions of the basis as outputs."""
        return self.moments if self.basis is None else self.basis.apply(self.moments)

    @cached_property
    def cross(self) -> Array:
        """Centred products of features and functions about the block's own means: float64 array of shape (p, m)."""
        return self.functions.centered("features", "outputs")


@dataclass(frozen=True, eq=False)
class Sample:
    """The rows that metrics are computed from.

    Attributes:
        moments: their moments.
        blocks: the blocks whose sum they are; empty if blocks were not kept.
        weight: the head's W, float64 array of shape (C, p); None if it is unknown.
        parameter_norm: ‖θ‖² of the model; None if it is unknown.
        is_ordered: whether the rows are in an order, so that the blocks are no independent draws.
        basis: functions that span the outputs; None if that is the outputs themselves.
        rotation: orthonormal directions V that the features of the rows fill, float64 array of shape (p, m), if the
            features of the moments are Vᵀφ; None if they are φ.
    """

    moments: Moments
    blocks: tuple[Block, ...] = ()
    weight: Array | None = None
    parameter_norm: float | None = None
    is_ordered: bool = False
    basis: OutputBasis | None = None
    rotation: Array | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_moments(
        cls,
        moments: Moments,
        blocks: Iterable[Moments] = (),
        *,
        weight: Array | None = None,
        parameter_norm: float | None = None,
    ) -> Self:
        """Make a sample of the moments of all rows and of their blocks.

        Args:
            moments: of all rows.
            blocks: moments of independent blocks of the rows.
            weight: the head's W, float64 array of shape (C, p).
            parameter_norm: ‖θ‖² of the model.
        """
        basis = find_output_basis(moments)
        parts = tuple(Block(block if basis is None else block.about(moments.shift), basis) for block in blocks)
        return cls(moments, parts, weight, parameter_norm, basis=basis)

    def cached(self, compute: Callable[[Sample], T]) -> T:
        """Return `compute` of this sample, which runs on the first call only."""
        if compute not in self._cache:
            self._cache[compute] = compute(self)
        result: T = self._cache[compute]
        return result

    @property
    def p(self) -> int:
        """Number of features of the model."""
        return self.moments.p if self.rotation is None else len(self.rotation)

    @cached_property
    def functions(self) -> Moments:
        """The moments with the functions of the basis as outputs, for what depends on the span of the outputs alone."""
        return self.moments if self.basis is None else self.basis.apply(self.moments)

    @cached_property
    def scatter(self) -> Array:
        """C_φφ, the centred second moments of the features: float64 array of shape (p, p)."""
        return self.moments.centered("features", "features")

    @cached_property
    def squared_norm(self) -> float:
        """‖C_φφ‖_F²."""
        return inner_product(self.scatter, self.scatter)

    @cached_property
    def block_rows(self) -> Array:
        """Number of rows of each block: float64 array of shape (G,)."""
        return np.array([block.moments.n for block in self.blocks])

    @cached_property
    def output_variance(self) -> float:
        """Variance of all outputs together."""
        if self.basis is not None and self.basis.output_weight is not None:
            return max(0.0, inner_product(self.scatter, self.basis.gram)) / self.moments.n
        return float(self.moments.variances("outputs").sum())

    @cached_property
    def target_cross(self) -> Array:
        """C_φy, the centred products of features and targets: float64 array of shape (p, width of targets)."""
        return self.moments.centered("features", "targets")

    @cached_property
    def function_cross(self) -> Array:
        """Centred products of the features with `functions`: float64 array of shape (p, m)."""
        return self.functions.centered("features", "outputs")


def leave_out_each(sample: Sample) -> Iterator[Sample]:
    """Yield the sample without each of its blocks in turn."""
    whole = sample.moments
    for index, block in enumerate(sample.blocks):
        moments = block.moments.about(whole.shift)
        tallies = {name: total - moments.tallies.get(name, 0.0) for name, total in whole.tallies.items()}
        rest = replace(whole, matrix=whole.matrix - moments.matrix, tallies=tallies)
        yield replace(sample, moments=rest, blocks=(*sample.blocks[:index], *sample.blocks[index + 1 :]))


def inner_product(a: Array, b: Array) -> float:
    """⟨a, b⟩ = Σ_ij a_ij b_ij of two matrices."""
    # The sum needs no p × p product in memory, and no threads of BLAS, which on a busy machine wait for each other for
    # longer than the sum takes.
    return float(np.einsum("ij,ij->", a, b))
