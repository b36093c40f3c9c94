"""The moment matrix from what is summed of it: tiles on and above the diagonal, with or without the outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement, pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def from_tiles(tiles: Sequence[Array]) -> Array:
    """The symmetric matrix of which the tiles on and above the diagonal are given, row by row."""
    count = (math.isqrt(8 * len(tiles) + 1) - 1) // 2
    edges = np.cumsum([0, *(tile.shape[1] for tile in tiles[:count])]).tolist()
    matrix = np.empty((edges[-1], edges[-1]))
    sides = [slice(start, stop) for start, stop in pairwise(edges)]
    for tile, (rows, columns) in zip(tiles, combinations_with_replacement(sides, 2), strict=True):
        if rows == columns:
            matrix[rows, columns] = np.triu(tile) + np.triu(tile, 1).T
        else:
            matrix[rows, columns], matrix[columns, rows] = tile, tile.T
    return matrix


def with_outputs(matrix: Array, weight: Array) -> Array:
    """The moment matrix of z = [1, φ, f, y] from that of [1, φ, y], for outputs f = Wφ about the shift W·(that of φ).

    Args:
        matrix: float64 array of shape (1 + p + K, 1 + p + K).
        weight: W, float64 array of shape (C, p).
    """
    C, p = weight.shape
    f, y = slice(1 + p, 1 + p + C), slice(1 + p + C, None)
    across = matrix[:, 1 : 1 + p] @ weight.T
    whole = np.empty((len(matrix) + C,) * 2)
    whole[: 1 + p, : 1 + p], whole[: 1 + p, y] = matrix[: 1 + p, : 1 + p], matrix[: 1 + p, 1 + p :]
    whole[y, : 1 + p], whole[y, y] = matrix[1 + p :, : 1 + p], matrix[1 + p :, 1 + p :]
    whole[: 1 + p, f], whole[y, f] = across[: 1 + p], across[1 + p :]
    whole[f, : 1 + p], whole[f, y] = across[: 1 + p].T, across[1 + p :].T
    own = weight @ across[1 : 1 + p]
    whole[f, f] = (own + own.T) / 2
    return whole
