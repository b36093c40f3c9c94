"""The functions that the outputs span: as many as the features or the rows allow, however many outputs there are.

Metrics of the span of the outputs use these functions in place of the outputs. f = Wφ + b has rank p + 1 at most, and n
rows have rank n at most, while a head can have 100,000 outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onnxrich.moments.matrix import Array, BlockName, Moments, split_rows, with_outputs
from onnxrich.moments.precision import EPS, GRAM_FLOOR

# Rows or features, relative to the columns of a matrix, below which its low rank saves work.
WORTHWHILE = 0.75


@dataclass(frozen=True, eq=False)
class OutputBasis:
    """Functions h = Uᵀ D⁻¹ f of the outputs f, U orthonormal and D their units, with D⁻¹ f = U h on all rows.

    So each singular value and each span of the outputs in their units is one of the functions.

    Attributes:
        weight: h − shift is weight·(f − its shift), float64 array of shape (m, C); or weight·(φ − its shift), of shape
            (m, p), if `output_weight` is given.
        shift: h at the shift of the moments, float64 array of shape (m,).
        output_weight: W of the outputs, float64 array of shape (C, p), if they follow from the features.
    """

    weight: Array
    shift: Array
    output_weight: Array | None = None

    def apply(self, moments: Moments) -> Moments:
        """The moments of the same rows with h as outputs; about the shift that the basis was made for."""
        if self.output_weight is not None:
            return with_outputs(moments, self.weight, self.shift)
        f = 1 + moments.p
        before, after = slice(0, f), slice(f + moments.C, None)
        matrix = moments.matrix
        rotated = np.vstack([matrix[before], self.weight @ matrix[f : f + moments.C], matrix[after]])
        middle = rotated[:, f : f + moments.C] @ self.weight.T
        rotated = np.hstack([rotated[:, before], middle, rotated[:, after]])
        shift = np.concatenate([moments.shift[before], self.shift, moments.shift[after]])
        return replace(moments, matrix=rotated, shift=shift, C=len(self.weight), tallies={})

    @cached_property
    def gram(self) -> Array:
        """WᵀW of the outputs that follow from the features: float64 array of shape (p, p)."""
        assert self.output_weight is not None  # noqa: S101 - callers ask for such outputs only
        return gram(self.output_weight)


def find_output_basis(moments: Moments) -> OutputBasis | None:
    """Find functions that span the outputs; None where the outputs themselves are few."""
    if not moments.n:
        return None
    if moments.weight is not None:
        return _basis_from_weight(moments, moments.weight)
    return _basis_from_rows(moments) if moments.n + 1 < WORTHWHILE * moments.C else None


def _basis_from_weight(moments: Moments, weight: Array) -> OutputBasis:
    # With D⁻¹W = Q·R, Q orthonormal and R = Λ^½Vᵀ from the eigenvectors of (D⁻¹W)ᵀ(D⁻¹W): D⁻¹f − its shift is
    # Q·R(φ − shift). The shift itself, in its units, is Q·c plus a rest that is orthogonal to Q: one more function, a
    # constant. An error of eps·‖R‖² in the p × p matrix is as large as that of the features' own sums seen through W.
    units = column_units(moments, "outputs")
    values, vectors = np.linalg.eigh(gram(weight, units))
    keep = values > len(values) * EPS["float64"] * max(float(values[-1]), 0.0)
    root, vectors = np.sqrt(values[keep]), vectors[:, keep]
    offset = moments.shift[1 + moments.p : 1 + moments.p + moments.C] / units
    rest, coordinates = offset, np.zeros(len(root))
    for _ in range(2):  # the second step removes the rounding of the first
        step = vectors.T @ (weight.T @ (rest / units)) / root
        rest = rest - (weight @ (vectors @ (step / root))) / units
        coordinates = coordinates + step
    reduced = np.vstack([root[:, None] * vectors.T, np.zeros((1, moments.p))])
    return OutputBasis(reduced, np.append(coordinates, np.linalg.norm(rest)), weight)


def _basis_from_rows(moments: Moments) -> OutputBasis | None:
    units = column_units(moments, "outputs")
    outputs = slice(1 + moments.p, 1 + moments.p + moments.C)
    products = moments.shifted("outputs") / units / units[:, None]
    basis = rows_basis(products, moments.shift[outputs] / units)
    return None if basis is None else OutputBasis(basis.T / units, basis.T @ (moments.shift[outputs] / units))


def rows_basis(products: Array, shift: Array) -> Array | None:
    """Orthonormal basis of the entries that rows fill.

    Args:
        products: Σ (a − shift)(a − shift)ᵀ, float64 array of shape (m, m).
        shift: float64 array of shape (m,).

    Returns:
        Float64 array of shape (m, rank), whose span contains all rows a; None where the rank is no smaller than m.
    """
    factor = low_rank_factor(products)
    if factor is None or factor.shape[1] + 1 >= WORTHWHILE * len(products):
        return None
    size = float(np.linalg.norm(shift))
    columns = np.column_stack([shift / size, factor]) if size else factor
    # Columns of unit length: a small one keeps its digits beside large ones.
    basis: Array = np.linalg.qr(columns / np.linalg.norm(columns, axis=0))[0]
    return basis


def low_rank_factor(products: Array) -> Array | None:
    """L of LLᵀ = a matrix of products, by Cholesky with pivots: float64 array of shape (m, rank); None for zeros.

    Each diagonal entry counts relative to itself, so that what is left out is rounding in every unit.
    """
    from scipy.linalg.lapack import dpstrf

    scale = np.sqrt(np.clip(np.diagonal(products), 0, None))
    units = np.where(scale > 0, scale, 1.0)
    cosines = products / units
    cosines /= units[:, None]
    # Its transpose is the same matrix in LAPACK's order, which needs no copy.
    factor, pivots, rank, _ = dpstrf(cosines.T, lower=1, overwrite_a=1)
    if not rank or not scale.any():
        return None
    lower = np.tril(factor[:, :rank])
    rows = np.empty_like(lower)
    rows[pivots - 1] = lower
    scaled: Array = rows * units[:, None]
    return scaled


def gram(weight: Array, units: Array | None = None) -> Array:
    """(D⁻¹W)ᵀ(D⁻¹W), D the units of the rows of W: float64 array of shape (p, p)."""
    total, start = np.zeros((weight.shape[1],) * 2), 0
    for part in split_rows(weight):
        scaled = part if units is None else part / units[start : start + len(part), None]
        total += scaled.T @ scaled
        start += len(part)
    return total


def column_units(moments: Moments, block: BlockName) -> Array:
    """The unit of each function of a block: its noise, divided by the tolerance. Float64 array of shape (width,).

    That is its standard deviation, unless rounding is larger: of values in the head's arithmetic beside a large
    offset, or of sums in double about a shift that is far from the mean.
    """
    noise = column_noise(moments, block) / tolerance_of(moments, block)
    units: Array = np.maximum(noise, np.sqrt(moments.variances(block)))
    return np.where(units > 0, units, 1.0)


def column_noise(moments: Moments, block: BlockName) -> Array:
    """Standard deviation below which rounding hides the variation of each function: float64 array of shape (width,)."""
    # Rounding to nearest has a standard deviation of at most 0.29 eps of the value. A sum of products beside an offset
    # is rounded several times.
    eps = EPS[moments.dtype if block == "outputs" else "float64"]
    sums = np.sqrt(moments.mean_squares(block))
    noise: Array = np.maximum(eps * np.abs(moments.mean(block)), GRAM_FLOOR * sums)
    return noise


def tolerance_of(moments: Moments, block: BlockName) -> float:
    """Relative singular value of the functions of a block at and below which a direction counts as noise."""
    return moments.resolution if block == "outputs" else GRAM_FLOOR
