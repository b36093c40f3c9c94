"""The span of a block's functions on the sample, with the decision which directions are more than rounding noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.moments.matrix import Array, Block, Moments
from onnxrich.moments.precision import GRAM_FLOOR


@dataclass(frozen=True, eq=False)
class Span:
    """Orthonormal basis of span{g₁..g_m} on the sample, as coefficients: basis function j is g · coefficients[:, j].

    Attributes:
        coefficients: float64 array of shape (m, rank); Σ (g·c_i)(g·c_j) = δ_ij over the rows.
        singular_values: float64 array of shape (m,), descending, relative to the largest of the raw functions.
        tolerance: relative singular value at and below which a direction is counted as noise.
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
    def narrow(self) -> bool:
        """Whether the cut is a close call: the values on its two sides differ by less than a factor 10."""
        above, below = self.gap
        return above is not None and below is not None and above < 10 * below


def span(moments: Moments, block: Block, *, centered: bool = False) -> Span:
    """Span of the raw or the centred functions of a block ("outputs" or "targets").

    The noise of rounding scales with the raw values, also after centring: both forms measure their singular values
    against the largest raw one.
    """
    # In the orthonormal functions [1/√n, E], E the normalised principal components of the centred block, the functions
    # g have the coordinates A = [√n·mean ; Λ^½Qᵀ]. An SVD of A gives the singular values of g without squaring the
    # mean, in which a large bias would otherwise drown the rest.
    tolerance = moments.resolution if block == "outputs" else GRAM_FLOOR
    values, vectors = np.linalg.eigh(moments.centered(block, block))
    principal = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    mean = np.sqrt(moments.n) * moments.mean(block)[None, :]
    coordinates = np.vstack([mean, principal])
    _, s, vt = np.linalg.svd(coordinates, full_matrices=False)
    largest = s[0] if len(s) else 0.0
    if centered:
        _, s, vt = np.linalg.svd(principal, full_matrices=False)
    if largest == 0:
        return Span(np.zeros((len(vt), 0)), np.zeros(len(s)), tolerance)
    keep = s > tolerance * largest
    return Span(vt[keep].T / s[keep], s / largest, tolerance)
