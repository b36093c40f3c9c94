"""Squared norms of covariances without the bias of a finite sample, from independent blocks of rows.

‖Cov(x, y)‖² of a sample exceeds that of its population, because it contains the square of each entry's error. With
A = E xyᵀ, a = E x and b = E y it is the polynomial ‖A − abᵀ‖² = ⟨A, A⟩ − 2 aᵀAb + |a|²|b|². Blocks are independent, so
a product of averages of *different* blocks has the product of their expectations: each term is averaged over all pairs,
triples and quadruples of different blocks. That is a U-statistic (Hoeffding 1948) of the blocks. It is unbiased for any
dependence of the rows within a block, such as tokens of a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from onnxrich.moments.matrix import Array, Moments

# Number of different blocks in a term of the polynomial.
LEAST_BLOCKS = 4
# Numbers of all blocks that are held at once: 32 MiB.
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class BlockProducts:
    """Products of the sums of G blocks over two functions x and y of the rows, about their means.

    With S_b = Σ xyᵀ, s_b = Σ x and t_b = Σ y of block b:

    Attributes:
        counts: number of rows of each block, float64 array of shape (G,).
        pairs: ⟨S_b, S_c⟩, float64 array of shape (G, G).
        triples: s_bᵀ S_c t_d at [c, b, d], float64 array of shape (G, G, G).
        left: ⟨s_b, s_c⟩, float64 array of shape (G, G).
        right: ⟨t_b, t_c⟩, float64 array of shape (G, G).
    """

    counts: Array
    pairs: Array
    triples: Array
    left: Array
    right: Array

    @classmethod
    def from_sums(cls, counts: Array, matrices: Sequence[Array], left: Array, right: Array) -> Self:
        """Compute the products of sums about any point, the same for all blocks.

        Args:
            counts: number of rows of each block, float64 array of shape (G,).
            matrices: Σ xyᵀ of each block, float64 arrays of shape (p, q).
            left: Σ x of each block, float64 array of shape (G, p).
            right: Σ y of each block, float64 array of shape (G, q).
        """
        # About the means of all rows, the terms with means are small, and little cancels.
        x, y = left.sum(axis=0) / counts.sum(), right.sum(axis=0) / counts.sum()
        s, t = left - np.outer(counts, x), right - np.outer(counts, y)
        pairs, triples = np.zeros((len(counts),) * 2), np.zeros((len(counts),) * 3)
        step = max(1, _CHUNK // right.size)
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            parts = np.stack([matrix[rows] for matrix in matrices])
            parts -= left[:, rows, None] * y + x[rows, None] * t[:, None]
            flat = parts.reshape(len(counts), -1)
            pairs += flat @ flat.T
            triples += s[:, rows] @ (parts @ t.T)
        return cls(counts, pairs, triples, s @ s.T, t @ t.T)

    @classmethod
    def of_features(cls, blocks: Sequence[Moments]) -> Self:
        """Compute the products for x = y = φ from the moments of the blocks, which are about one shift."""
        sums = feature_sums(blocks)
        counts = np.array([block.n for block in blocks])
        return cls.from_sums(counts, [block.shifted("features") for block in blocks], sums, sums)

    def squared_norm(self, blocks: Sequence[int]) -> float:
        """‖Cov(x, y)‖_F² without bias, from the blocks of these numbers, at least four."""
        pairs, left, right = (each[np.ix_(blocks, blocks)] for each in (self.pairs, self.left, self.right))
        pair_sum = float(pairs.sum() - np.trace(pairs))
        return squared_norm(self.counts[blocks], pair_sum, self.triples[np.ix_(blocks, blocks, blocks)], left, right)


def feature_sums(blocks: Sequence[Moments]) -> Array:
    """Σ (φ − shift) of each block: float64 array of shape (G, p)."""
    return np.stack([block.matrix[0, 1 : 1 + block.p] for block in blocks])


def squared_norm(counts: Array, pair_sum: float, triples: Array, left: Array, right: Array) -> float:
    """‖Cov(x, y)‖_F² without bias, from products of at least four blocks.

    Args:
        counts: number of rows of each block, float64 array of shape (G,).
        pair_sum: Σ_{b≠c} ⟨S_b, S_c⟩.
        triples: as in `BlockProducts`.
        left: as in `BlockProducts`.
        right: as in `BlockProducts`.
    """
    # Sums over different blocks are sums over all of them, less those where two or more are the same.
    one, two, three, four = (float(np.sum(counts**power)) for power in (1, 2, 3, 4))
    pairs_of_rows = one**2 - two
    triples_of_rows = one**3 - 3 * one * two + 2 * three
    quadruples_of_rows = one**4 - 6 * one**2 * two + 3 * two**2 + 8 * one * three - 6 * four
    equal = [float(np.einsum(f"{same}->", triples)) for same in ("ccd", "cbc", "cbb")]
    triple_sum = float(triples.sum()) - sum(equal) + 2 * float(np.einsum("ccc->", triples))
    left, right = (each - np.diag(np.diag(each)) for each in (left, right))
    rows = right.sum(axis=0)
    quadruple_sum = float(np.sum(left * (rows.sum() - 2 * (rows[:, None] + rows) + 2 * right)))
    return pair_sum / pairs_of_rows - 2 * triple_sum / triples_of_rows + quadruple_sum / quadruples_of_rows
