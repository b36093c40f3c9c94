"""CKA of two models without the bias of few rows."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from onnxrich.metrics.similarity import debiased_cka
from onnxrich.metrics.unbiased import BlockProducts


def products_of(x: np.ndarray, y: np.ndarray, blocks: int) -> BlockProducts:
    """Products of the sums of equal blocks of rows."""
    parts = list(zip(np.split(x, blocks), np.split(y, blocks), strict=True))
    sums = (np.stack([part[side].sum(axis=0) for part in parts]) for side in (0, 1))
    return BlockProducts.from_sums(np.full(blocks, len(x) / blocks), [a.T @ b for a, b in parts], *sums)


def debiased(x: np.ndarray, y: np.ndarray, blocks: int = 16) -> float:
    found = debiased_cka(*(products_of(a, b, blocks) for a, b in ((x, x), (y, y), (x, y))))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("shared", [0, 20])
def test_cka_of_the_population(shared: int) -> None:
    """Two rows a feature: features of which none, or half, are the same."""
    p, n = 40, 80
    values, plain = [], []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal((n, p)) + 1, rng.standard_normal((n, p)) - 2
        y[:, :shared] = x[:, :shared]
        values.append(debiased(x, y))
        plain.append(oracle.cka(x, y))
    # ‖Cov(x, y)‖² counts the features that are the same, each norm all of them.
    truth = shared / p
    # The jackknife leaves a bias of order 1/n².
    assert np.mean(plain) > truth + 0.1
    assert abs(np.mean(values) - truth) < 0.1 * (np.mean(plain) - truth)


def test_same_features() -> None:
    """1 of a model and itself, whatever their scale and rotation; none with four blocks."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 6))
    assert debiased(x, 3 * x @ np.linalg.qr(rng.standard_normal((6, 6)))[0] + 5) == pytest.approx(1, abs=1e-12)
    assert debiased_cka(*(products_of(x, x, 4) for _ in range(3))) is None
