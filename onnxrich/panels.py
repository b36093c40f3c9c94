"""The moment matrix from what is summed of it: block rows on and above the diagonal, with or without the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def from_panels(panels: Sequence[Array]) -> Array:
    """The symmetric matrix of which the block rows on and above the diagonal are given, the first one as wide as it."""
    d = panels[0].shape[1]
    matrix = np.empty((d, d))
    start = 0
    for panel in panels:
        stop = start + len(panel)
        corner = panel[:, : len(panel)]
        matrix[start:stop, start:stop] = np.triu(corner) + np.triu(corner, 1).T
        matrix[start:stop, stop:] = panel[:, len(panel) :]
        matrix[stop:, start:stop] = panel[:, len(panel) :].T
        start = stop
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
