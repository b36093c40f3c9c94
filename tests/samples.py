"""Rows and samples that several tests of metrics share."""

from __future__ import annotations

from functools import reduce

import numpy as np

from onnxrich.metrics.base import Sample
from onnxrich.moments.matrix import Moments

Rows = tuple[np.ndarray, ...]
# Relative sizes of 16 unequal blocks.
UNEQUAL = np.linspace(0.6, 1.4, 16)


def class_rows(seed: int = 0, n: int = 400, p: int = 30, C: int = 5) -> tuple[np.ndarray, ...]:
    """Features of uneven variances around class means, the head's W, its outputs, and uneven classes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(C, n, p=np.arange(1, C + 1) / np.arange(1, C + 1).sum())
    features = rng.standard_normal((C, p))[labels] + rng.standard_normal((n, p)) * rng.gamma(2.0, size=p) + 0.4
    weight = rng.standard_normal((C, p))
    return features, weight, features @ weight.T + rng.standard_normal(C), labels


def real_values(features: np.ndarray) -> np.ndarray:
    """Three real targets that the features explain in part."""
    return np.tanh(features[:, :3]) + 0.3 * np.random.default_rng(0).standard_normal((len(features), 3))


def clustered_rows(n: int = 1600, p: int = 30, C: int = 4, seed: int = 0) -> Rows:
    """Features around class means, noisy outputs, and classes, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, n)
    means = np.random.default_rng(99).standard_normal((C, p))
    features = means[labels] + rng.standard_normal((n, p)) * 1.1 ** -np.arange(p) + 0.2
    return features, features @ means.T / 5, labels


def cut_into_blocks(data: Rows, sizes: np.ndarray) -> Sample:
    """A sample of consecutive blocks of these relative sizes."""
    ends = np.round(np.cumsum(sizes) / np.sum(sizes) * len(data[0])).astype(int)[:-1]
    K = int(data[2].max()) + 1
    parts = [_block(part, K) for part in zip(*(np.split(each, ends) for each in data), strict=True)]
    return Sample.from_moments(reduce(Moments.merge, parts), parts, weight=np.eye(K, data[0].shape[1]))


def _block(part: Rows, K: int) -> Moments:
    features, outputs, labels = part
    assert outputs.shape[1] == K
    return Moments.from_rows(features, outputs, labels)
