"""Similarity of the features of two models on the same rows: linear CKA from the products of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from onnxrich.metrics.debiased import LEAST_DEBIASED, jackknife_corrected
from onnxrich.metrics.richness import features_vary
from onnxrich.metrics.unbiased import BlockProducts
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


def debiased_cka(a: BlockProducts, b: BlockProducts, both: BlockProducts) -> tuple[float, Array] | None:
    """Linear CKA of infinitely many rows, from independent blocks; None where too few rows determine it.

    CKA of n rows is biased towards 1: each norm contains the squares of its errors, that of the numerator relatively
    more. Here all three come from different blocks, and the jackknife removes the bias of order 1/n of their ratio.

    Args:
        a: products of the features of the first model.
        b: products of the features of the second model, of the same blocks of rows.
        both: products of the features of the first with those of the second.

    Returns:
        CKA, and CKA without each block: float64 array of shape (G,). They are not cut off at 0 and 1.
    """
    numbers = range(len(both.counts))
    if len(numbers) < LEAST_DEBIASED:
        return None
    chosen = [list(numbers), *([other for other in numbers if other != left_out] for left_out in numbers)]
    squares = np.array([[each.squared_norm(blocks) for each in (both, a, b)] for blocks in chosen])
    if not (squares[:, 1:] > 0).all():
        return None
    ratios = squares[:, 0] / np.sqrt(squares[:, 1] * squares[:, 2])
    shares = both.counts / both.counts.sum()
    change = jackknife_corrected(float(ratios[0]), ratios[1:], shares) - ratios[0]
    # The correction is of order 1/n, and hardly changes without a block.
    return float(ratios[0] + change), ratios[1:] + change / (1 - shares)
