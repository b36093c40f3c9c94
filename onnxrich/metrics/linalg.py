"""Spectra of the features, raw and centred, from one eigendecomposition, and spans of outputs and targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics.base import Sample
from onnxrich.metrics.functions import column_units, tolerance_of
from onnxrich.moments.matrix import Array, BlockName, Moments
from onnxrich.moments.precision import EPS, GRAM_FLOOR

# Number of secular equations that are solved together: 32 × 4096 doubles are 1 MiB, which stays in a cache.
_CHUNK = 32
# The distance of a root from its nearest pole, relative to the gap, lies between this and one half.
_NEAREST = 1e-60
# Steps of the bisection of the logarithm: 62 steps leave 138/2⁶² = 3e-17 of the distance.
_BISECTIONS = 62


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues, descending, and eigenvectors of a matrix of second moments divided by n.

    Attributes:
        values: float64 array of shape (p,). Those below `noise` are rounding noise.
        vectors: float64 array of shape (p, p), one eigenvector per column.
        noise: the level of rounding.
    """

    values: Array
    vectors: Array
    noise: float

    @property
    def rank(self) -> int:
        """Number of eigenvalues above rounding noise."""
        return int(np.count_nonzero(self.values > self.noise))


def centered_spectrum(sample: Sample) -> Spectrum:
    """Spectrum of the features' covariance C_φφ/n: the one p × p eigendecomposition of an analysis."""
    values, vectors = np.linalg.eigh(sample.scatter / sample.moments.n)
    values = values[::-1]
    noise = 8 * sample.p * EPS["float64"] * max(float(values[0]), 0.0)
    return Spectrum(values, vectors[:, ::-1], noise)


def raw_spectrum(sample: Sample) -> Spectrum:
    """Spectrum of the feature kernel operator S_φφ/n = C_φφ/n + mmᵀ, m the mean: a rank-one update of the other."""
    base = sample.cached(centered_spectrum)
    values, rotation = rank_one_update(base.values, base.vectors.T @ sample.moments.mean("features"))
    noise = 8 * max(sample.p, 100) * EPS["float64"] * max(float(values[0]), 0.0)
    return Spectrum(values, base.vectors @ rotation, noise)


def rank_one_update(values: Array, z: Array) -> tuple[Array, Array]:
    """Eigenvalues, descending, and eigenvectors of diag(values) + zzᵀ.

    Sources: Golub 1973 for the secular equation; Gu & Eisenstat 1994 for vectors that are orthogonal to rounding. The
    computed eigenvalues are exact for a z̃ near z. Löwner's formula gives z̃, and z̃ gives the vectors.

    Args:
        values: float64 array of shape (p,), descending.
        z: float64 array of shape (p,).
    """
    # Equal poles and weights of zero have no equation of their own. They are moved apart by rounding errors' worth,
    # which is an error of the size that the decomposition has anyway.
    d = values[::-1].copy()
    signs, weights = np.where(z[::-1] < 0, -1.0, 1.0), np.abs(z[::-1])
    scale = max(float(np.abs(d).max(initial=0.0)), float(weights @ weights))
    if scale == 0:
        return values, np.eye(len(values))
    step = 2 * EPS["float64"] * scale
    d = np.maximum.accumulate(d - step * np.arange(len(d))) + step * np.arange(len(d))
    weights = np.maximum(weights, EPS["float64"] * np.sqrt(scale))
    nearest, offset = _secular_roots(d, weights**2)
    # difference[i, j] = μ_i − d_j, accurate relative to itself because the sum starts from the nearest pole.
    difference = (d[nearest][:, None] - d) + offset[:, None]
    vectors = signs * _loewner_weights(d, difference) / difference
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (d[nearest] + offset)[::-1], np.ascontiguousarray(vectors[::-1, ::-1].T)


def _loewner_weights(d: Array, difference: Array) -> Array:
    """z̃ whose roots are exact: z̃_j² = Π_i (μ_i − d_j) / Π_{i≠j} (d_i − d_j)."""
    # Each factor μ_i − d_j is divided by the pole behind the root as seen from d_j. So all ratios lie in 0 … 1, and the
    # logarithms stay small.
    gaps = np.abs(d[:, None] - d)
    index = np.arange(len(d))
    next_gaps = np.vstack([gaps[1:], np.ones((1, len(d)))])
    divisors = np.where(index[:, None] < index, gaps, next_gaps)
    weights: Array = np.exp(np.log(np.abs(difference) / divisors).sum(axis=0) / 2)
    return weights


def _secular_roots(d: Array, squares: Array) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Array]:
    """Roots of 1 + Σ_j squares_j/(d_j − μ), one between each two neighbours.

    Returns:
        Number of the nearest pole of each root, and the signed distance of the root from it.
    """
    # On its interval the function rises from −∞ to ∞, so bisection finds the root. It runs in the distance from the
    # nearer pole, which the sign in the middle determines, and on a logarithmic scale: small distances keep all their
    # digits.
    last = len(d) - 1
    widths = np.append(np.diff(d), squares.sum())
    nearest, offset = np.empty(len(d), dtype=np.int64), np.empty(len(d))
    for start in range(0, len(d), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(d)))
        width = widths[rows]
        is_left = (_secular_values(d[rows, None] - d, squares, width / 2) >= 0) | (rows == last)
        pole, sign = np.where(is_left, rows, np.minimum(rows + 1, last)), np.where(is_left, 1.0, -1.0)
        differences = d[pole, None] - d
        high = np.where(rows == last, width, width / 2)
        low = _NEAREST * high
        for _ in range(_BISECTIONS):
            middle = np.sqrt(low) * np.sqrt(high)
            is_nearer = (_secular_values(differences, squares, sign * middle) >= 0) == is_left
            low, high = np.where(is_nearer, low, middle), np.where(is_nearer, middle, high)
        nearest[rows], offset[rows] = pole, sign * np.sqrt(low) * np.sqrt(high)
    return nearest, offset


def _secular_values(differences: Array, squares: Array, distance: Array) -> Array:
    """The secular function at a distance from a pole, given the differences of that pole from all poles."""
    terms = differences + distance[:, None]
    np.divide(squares, terms, out=terms)
    values: Array = 1 - terms.sum(axis=1)
    return values


@dataclass(frozen=True, eq=False)
class Span:
    """Orthonormal basis of span{g₁..g_m} on the sample, as coefficients: basis function j is g · coefficients[:, j].

    Attributes:
        coefficients: float64 array of shape (m, rank); Σ (g·c_i)(g·c_j) = δ_ij over the rows.
        singular_values: float64 array of shape (m,), descending, of the functions in their own units, relative to the
            largest of the centred functions.
        tolerance: relative singular value at and below which a direction counts as noise.
    """

    coefficients: Array
    singular_values: Array
    tolerance: float

    @property
    def rank(self) -> int:
        """Number of directions above the tolerance."""
        return int(self.coefficients.shape[1])

    @property
    def gap(self) -> tuple[float | None, float | None]:
        """Relative singular values just above and just below the cut."""
        s, r = self.singular_values, self.rank
        return (float(s[r - 1]) if r else None), (float(s[r]) if r < len(s) else None)

    @property
    def is_close_call(self) -> bool:
        """Whether the values on the two sides of the cut differ by less than a factor of 10."""
        above, below = self.gap
        return above is not None and below is not None and above < 10 * below


def output_span(sample: Sample, *, centered: bool = False) -> Span:
    """Compute the span of the raw or the centred outputs, with coefficients of `sample.functions`."""
    span = compute_span(sample.functions, "outputs", centered=centered, has_units=sample.basis is None)
    if len(span.singular_values) >= sample.moments.C:
        return span
    # More outputs than functions that span them depend on each other: further singular values are zero.
    return replace(span, singular_values=np.append(span.singular_values, 0.0))


def compute_span(moments: Moments, block: BlockName, *, centered: bool = False, has_units: bool = True) -> Span:
    """Compute the span of the raw or the centred functions of a block ("outputs" or "targets").

    A span does not depend on the units of its functions. So each function is first divided by its own unit, and the
    rank does not depend on the units either: neither on scales, nor on offsets as far as the arithmetic resolves the
    variation beside them.

    Args:
        moments: of the rows.
        block: the block.
        centered: whether the functions are centred.
        has_units: whether each function has a unit of its own; not those of an `OutputBasis`, where units are one.
    """
    # In the orthonormal functions [1, E], E the normalised principal components of the centred block, the functions g
    # have the coordinates A = [mean ; Λ^½Qᵀ]. An SVD of A gives the singular values of g without squaring the mean.
    # Division by the units makes the noise of all functions alike, about `tolerance`; noise that the functions share
    # grows in their sums as they do, up to the largest singular value.
    if block == "targets" and moments.targets == "classes":
        return _class_span(moments, centered=centered)
    tolerance = tolerance_of(moments, block)
    units = column_units(moments, block) if has_units else np.ones(moments.C)
    values, vectors = np.linalg.eigh(moments.centered(block, block) / moments.n / units / units[:, None])
    principal = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    largest = max(1.0, float(np.sqrt(max(values[-1], 0.0)))) if len(values) else 1.0
    if centered:
        _, s, vt = np.linalg.svd(principal, full_matrices=False)
        keep = s > tolerance * largest
        basis = vt[keep].T / s[keep]
    else:
        basis, s = _raw_basis(moments.mean(block) / units, principal, largest=largest, tolerance=tolerance)
    return Span(basis / units[:, None] / np.sqrt(moments.n), s / largest, tolerance)


def _class_span(moments: Moments, *, centered: bool) -> Span:
    """The span of the indicators of the classes that occur."""
    # Σ yyᵀ is diagonal with the counts N. So y·N^(−½) is orthonormal, and the centred indicators have the products
    # N^½(I − qqᵀ)N^½, q = √(N/n) of length one: the columns of N^(−½)Q are a basis, Q orthonormal and orthogonal to q.
    counts = moments.n * moments.mean("targets")
    present = np.flatnonzero(counts > GRAM_FLOOR**2 * moments.n)
    root = np.sqrt(counts[present])
    coordinates = np.eye(len(present))
    if centered and len(present):
        mirror = root / np.sqrt(moments.n)
        mirror[0] += 1  # the reflection that maps q to −e₁ maps the other unit vectors to Q
        coordinates = (coordinates - np.outer(mirror, mirror) / mirror[0])[:, 1:]
    coefficients = np.zeros((len(counts), coordinates.shape[1]))
    coefficients[present] = coordinates / root[:, None]
    return Span(coefficients, np.ones(coordinates.shape[1]), GRAM_FLOOR)


def _raw_basis(mean: Array, principal: Array, *, largest: float, tolerance: float) -> tuple[Array, Array]:
    """Basis of the functions with the coordinates [mean ; principal], and the singular values that decided its size.

    Args:
        mean: float64 array of shape (m,).
        principal: coordinates of the centred functions, float64 array of shape (m, m).
        largest: singular value that the tolerance is relative to.
        tolerance: relative singular value at and below which a direction counts as noise.
    """
    # The rank stays the same if a row of coordinates is multiplied by t > 0. Where the mean outweighs the rest, t
    # brings it down to the same size: a large offset then hides nothing. With the SVD U S Vᵀ of the shrunk coordinates
    # the functions V/S have the coordinates U, but for the first row, which is u/t. Their Gram matrix is
    # I + (t⁻² − 1)uuᵀ, and its inverse root, I − (1 − (1 + (t⁻² − 1)|u|²)^(−½)) uuᵀ/|u|², makes them orthonormal.
    size = float(np.linalg.norm(mean))
    shrink = min(1.0, largest / size) if size else 1.0
    left, s, vt = np.linalg.svd(np.vstack([shrink * mean, principal]), full_matrices=False)
    keep = s > tolerance * largest
    basis, u = vt[keep].T / s[keep], left[0, keep]
    square = float(u @ u)
    if shrink < 1 and square:
        excess = 1 - 1 / np.sqrt(1 + (shrink**-2 - 1) * square)
        basis = basis - np.outer(basis @ u, excess / square * u)
    return basis, s
