"""Sums over the rows of a classifier that are no second moments: how often it is right, and its cross-entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxrich.moments.tiles import Array

# What is summed over the rows of a classifier beside second moments: rows whose largest output is that of their class,
# and the cross-entropy log Σ exp f − f_class in nats. A single output is the logit of the second of two classes.
TALLIES = ("correct", "cross_entropy")


def tallied(f: Array, y: Array, weights: ArrayLike | None) -> dict[str, float]:
    """The sums of `TALLIES` of some rows: outputs of shape (n, C), one-hot classes of shape (n, K)."""
    scores = f if f.shape[1] > 1 else np.hstack([np.zeros_like(f), f])
    hits = scores.argmax(axis=1) == y.argmax(axis=1)
    highest = scores.max(axis=1, initial=-np.inf)
    losses = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - (scores * y).sum(axis=1)
    scale = np.ones(len(f)) if weights is None else np.asarray(weights, dtype=np.float64)
    return dict(zip(TALLIES, (float((hits * scale).sum()), float((losses * scale).sum())), strict=True))
