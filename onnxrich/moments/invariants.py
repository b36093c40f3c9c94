"""What moments of rows always fulfil: a file in which they don't was damaged or edited."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from onnxrich._utils.threads import single_threaded_blas

if TYPE_CHECKING:
    from onnxrich.moments.matrix import Array, Moments

# How far from an exact law moments may be, relative to the products that they are sums of. Sums in double keep some
# 1e-13; about another shift, as after a merge, small variances beside large means keep fewer digits.
TOLERANCE = 1e-4

# Standard deviation of a value, relative to its shift, that rounding can feign: means of a million equal rows are so
# far from their value, and merged moments are about the mean of other rows. Features in single precision vary by 6e-8.
CONSTANT = 1e-10

# The most rows that are counted exactly in double.
MOST_ROWS = 2.0**53


def find_violation(moments: Moments) -> str | None:
    """Find a law that moments of rows fulfil and these don't.

    Cost: time O(d³) for d = 1 + p + C + K, of one Cholesky decomposition, and memory O(d²).

    Returns:
        A clause that says what is wrong; None where nothing is.
    """
    with single_threaded_blas(len(moments.matrix) ** 3), np.errstate(all="ignore"):
        return next(_violations(moments), None)


def _violations(moments: Moments) -> Iterator[str]:
    """What is wrong with moments; each law presupposes those before it."""
    matrix, n = moments.matrix, moments.n
    if not (np.isfinite(matrix).all() and np.isfinite(moments.shift).all()):
        yield "they hold NaN or infinity"
    if not 0 <= n <= MOST_ROWS:
        yield f"they count {n:.6g} rows"
    if moments.shift[0] != 0:
        yield "their shift has another first entry than 0"
    if not 0 <= moments.residual < np.inf:
        yield f"their residual is {moments.residual:.6g}"
    if (moments.targets is None) != (moments.K == 0):
        yield f"{moments.K} targets, of kind {moments.targets}"
    diagonal, noise = np.diagonal(matrix), CONSTANT * np.abs(moments.matrix_shift) * np.sqrt(n)
    if (diagonal < -(noise**2)).any():
        yield "sums of squares are below zero"
    if not _is_positive_semidefinite(matrix, np.maximum(np.sqrt(np.clip(diagonal, 0, None)), noise)):
        yield "the matrix is not symmetric and positive semidefinite"
    if moments.targets == "classes" and not _are_classes(moments):
        yield "its targets are not one class a row"
    if not _are_scores(moments.tallies, n):
        yield "its scores are not those of so many rows"
    if moments.tallies and not moments.has_accuracy:
        yield "scores of classes, without an output for each class"


def _is_positive_semidefinite(matrix: Array, scale: Array) -> bool:
    """Tell whether a matrix of products is symmetric and has no direction of negative length, up to rounding.

    Args:
        matrix: float64 array of shape (d, d).
        scale: float64 array of shape (d,), square roots of its diagonal, or of rounding where that is larger.
    """
    # Without a unit, the entries are cosines. A sum of squares of zero stands for rows of zeros.
    units = np.where(scale > 0, scale, 1.0)
    cosines = matrix / units / units[:, None]
    if not np.isfinite(cosines).all() or not (np.abs(cosines - cosines.T) <= TOLERANCE).all():
        return False
    if not (np.abs(cosines[scale == 0]) <= 0).all():
        return False
    cosines[np.diag_indices_from(cosines)] = 1 + TOLERANCE
    try:
        np.linalg.cholesky(cosines)
    except np.linalg.LinAlgError:
        return False
    return True


def _are_classes(moments: Moments) -> bool:
    """Tell whether each row has one class: products of classes are the numbers of their rows, and these add up to n."""
    products, n = moments.raw("targets", "targets"), moments.n
    counts = n * moments.mean("targets") if n else np.zeros(moments.target_width)
    difference = np.abs(products - np.diag(counts)).max(initial=0.0) if n else 0.0
    return bool(counts.min() >= -TOLERANCE * n and abs(counts.sum() - n) + difference <= TOLERANCE * n)


def _are_scores(tallies: Mapping[str, float], n: float) -> bool:
    """Tell whether n rows can have such scores.

    A row that is not correct has at most half of the probability in its class: its cross-entropy is at least log 2.
    """
    correct, cross_entropy = tallies.get("correct", n), tallies.get("cross_entropy", math.inf)
    least = math.log(2) * (n - correct)
    return 0 <= correct <= n * (1 + TOLERANCE) and not cross_entropy < least - TOLERANCE * n
