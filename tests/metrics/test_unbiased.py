"""Squared norms of covariances from blocks: products written out, and expectations enumerated."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from onnxrich.metrics import unbiased
from onnxrich.metrics.unbiased import BlockProducts

Rows = list[np.ndarray]


def random_rows(sizes: list[int], width: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, width)) + rng.standard_normal(width) for size in sizes]


def products_of(x: Rows, y: Rows) -> BlockProducts:
    counts = np.array([len(rows) for rows in x], dtype=float)
    sums = [np.stack([rows.sum(axis=0) for rows in blocks]) for blocks in (x, y)]
    return BlockProducts.from_sums(counts, [a.T @ b for a, b in zip(x, y, strict=True)], *sums)


def written_out(x: Rows, y: Rows, chosen: list[int]) -> float:
    """The three averages over different blocks, term by term, of sums about the means of all rows."""
    x, y = ([rows - np.concatenate(blocks).mean(axis=0) for rows in blocks] for blocks in (x, y))
    S = [a.T @ b for a, b in zip(x, y, strict=True)]
    s, t = ([rows.sum(axis=0) for rows in blocks] for blocks in (x, y))
    n = [len(rows) for rows in x]
    pairs, triples, quadruples = (list(permutations(chosen, length)) for length in (2, 3, 4))
    first = sum(np.sum(S[b] * S[c]) for b, c in pairs) / sum(n[b] * n[c] for b, c in pairs)
    second = sum(s[b] @ S[c] @ t[d] for b, c, d in triples) / sum(n[b] * n[c] * n[d] for b, c, d in triples)
    third = sum((s[b] @ s[c]) * (t[d] @ t[e]) for b, c, d, e in quadruples)
    return first - 2 * second + third / sum(n[b] * n[c] * n[d] * n[e] for b, c, d, e in quadruples)


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [5, 1, 2, 3, 4]])
def test_products_of_different_blocks(chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in parts of a single row of the matrices."""
    sizes = [3, 8, 2, 5, 5, 7]
    x, y = random_rows(sizes, 3, seed=0), random_rows(sizes, 4, seed=1)
    expected = written_out(x, y, chosen)
    assert products_of(x, y).squared_norm(chosen) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(unbiased, "_CHUNK", 1)
    assert products_of(x, y).squared_norm(chosen) == pytest.approx(expected, rel=1e-12)


def test_no_bias() -> None:
    """A population of three kinds of block: the mean over all ways to draw four of them is that of the population."""
    x, y = random_rows([4, 4, 4], 3, seed=2), random_rows([4, 4, 4], 2, seed=3)
    draws = [([x[kind] for kind in way], [y[kind] for kind in way]) for way in product(range(3), repeat=4)]
    # The sizes are equal, so it does not matter about which means the sums of a draw are.
    norms = [products_of(*draw).squared_norm([0, 1, 2, 3]) for draw in draws]
    truth = plain_norm(x, y)
    assert np.mean(norms) == pytest.approx(truth, rel=1e-12)
    assert abs(np.mean([plain_norm(*draw) for draw in draws]) - truth) > 0.1 * truth


def plain_norm(x: Rows, y: Rows) -> float:
    a, b = np.concatenate(x), np.concatenate(y)
    return float(np.sum(np.cov(a.T, b.T, bias=True)[: a.shape[1], a.shape[1] :] ** 2))


def test_blocks_of_one_row_give_unbiased_hsic() -> None:
    """‖Cov(x, y)‖² is HSIC of linear kernels; its unbiased form is equation 5 of Song et al. 2012."""
    x, y = random_rows([1] * 12, 3, seed=4), random_rows([1] * 12, 4, seed=5)
    K, L = (np.concatenate(rows) @ np.concatenate(rows).T * (1 - np.eye(12)) for rows in (x, y))
    n, product_sum = 12, np.sum(K @ L)
    hsic = np.trace(K @ L) + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * product_sum / (n - 2)
    assert products_of(x, y).squared_norm(list(range(12))) == pytest.approx(hsic / (n * (n - 3)), rel=1e-12)
