"""Similarity of the features of two models on the same rows: linear CKA from the products of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from onnxrich.metrics.richness import features_vary
from onnxrich.moments.matrix import Array, Moments


@dataclass(frozen=True)
class FeatureSums:
    """Sums over the rows of one model that the CKA with any other model needs.

    Attributes:
        n: number of rows.
        sums: Σ (φ − shift), float64 array of shape (p,).
        norm: ‖C_φφ‖_F, C the centred second moments; 0 if the features do not vary.
    """

    n: float
    sums: Array
    norm: float

    @classmethod
    def from_moments(cls, moments: Moments) -> Self:
        """Take the sums from moments."""
        scatter = moments.centered("features", "features")
        varies = features_vary(moments, float(np.trace(scatter)))
        sums = moments.matrix[0, 1 : 1 + moments.p]
        return cls(moments.n, sums, float(np.linalg.norm(scatter)) if varies else 0.0)


def leave_out_each(whole: Moments, blocks: Sequence[Moments]) -> list[FeatureSums]:
    """Compute the sums of one model without each block in turn, all about the shift of the whole."""
    return [
        FeatureSums.from_moments(replace(whole, matrix=whole.matrix - block.about(whole.shift).matrix))
        for block in blocks
    ]


def linear_cka(a: FeatureSums, b: FeatureSums, products: Array) -> float | None:
    """Linear CKA of the features of two models; None if the features of one do not vary.

    Source: Kornblith et al. 2019, eq. 3 with linear kernels: ‖Φᵃᵀ H Φᵇ‖_F² / (‖Φᵃᵀ H Φᵃ‖_F ‖Φᵇᵀ H Φᵇ‖_F).

    Args:
        a: sums of the first model.
        b: sums of the second model over the same rows.
        products: Σ (φᵃ − shiftᵃ)(φᵇ − shiftᵇ)ᵀ, float64 array of shape (p of a, p of b).
    """
    scale = a.norm * b.norm
    if scale == 0:
        return None
    centered = products - np.outer(a.sums, b.sums) / a.n
    return float(min(1.0, np.sum(centered**2) / scale))
