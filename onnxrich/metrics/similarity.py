"""How alike the features of two models are on the same rows: linear CKA from the products of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics.richness import varies_at_all
from onnxrich.moments.matrix import Array, Moments


@dataclass(frozen=True)
class Rows:
    """Sums over some rows of one model, for all pairs that it is in.

    Attributes:
        n: number of rows.
        sums: Σ (φ − shift), float64 array of shape (p,).
        norm: ‖C_φφ‖_F, C the centred second moments; 0 where the features don't vary.
    """

    n: float
    sums: Array
    norm: float

    @classmethod
    def of(cls, moments: Moments) -> Rows:
        """The sums of moments."""
        features = slice(1, 1 + moments.p)
        scatter = moments.centered("features", "features")
        varies = varies_at_all(moments, float(np.trace(scatter)))
        return cls(moments.n, moments.matrix[0, features], float(np.linalg.norm(scatter)) if varies else 0.0)


def left_out(whole: Moments, blocks: Sequence[Moments]) -> list[Rows]:
    """The sums of one model without each of the blocks, all about the shift of the whole."""
    return [Rows.of(replace(whole, matrix=whole.matrix - block.about(whole.shift).matrix)) for block in blocks]


def linear_cka(a: Rows, b: Rows, products: Array) -> float | None:
    """Linear CKA of the features of two models; None where either's don't vary.

    Source: Kornblith et al. 2019, eq. 3 with linear kernels: ‖Φᵃᵀ H Φᵇ‖_F² / (‖Φᵃᵀ H Φᵃ‖_F ‖Φᵇᵀ H Φᵇ‖_F).

    Args:
        a: sums of the one model.
        b: sums of the other, over the same rows.
        products: Σ (φᵃ − shiftᵃ)(φᵇ − shiftᵇ)ᵀ, float64 array of shape (p of a, p of b).
    """
    scale = a.norm * b.norm
    if scale == 0:
        return None
    centered = products - np.outer(a.sums, b.sums) / a.n
    return float(min(1.0, np.sum(centered**2) / scale))
