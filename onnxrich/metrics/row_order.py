"""Whether rows are in an order, so that blocks of them are no independent draws."""

from __future__ import annotations

import math

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.debiased import LEAST_BLOCKS
from onnxrich.metrics.linalg import span
from onnxrich.moments.matrix import BlockName

# Blocks whose means scatter by so much more than chance lets them hold different mixtures of rows.
_ORDERED_RATIO, _ORDERED_SIGMAS = 1.5, 6.0
# Blocks whose means scatter by so much less than chance has it share out unlike rows, and are not independent.
# With few degrees of freedom, outputs of few values do so by chance.
_TURNS_SIGMAS, _TURNS_FREEDOM = 4.0, 10


def row_order_ratio(sample: Sample) -> float | None:
    """How many times as much as chance has it the blocks' means scatter, where that is far from 1; else None.

    Much more where rows that lie together are alike, as sorted ones are: that is seen in the means of the targets, or
    without labels of the outputs. Much less where unlike rows come by turns, one of each class: seen in the outputs,
    for it matters as far as the classes tell what the model gives.
    """
    moments = sample.moments
    if len(sample.parts) < LEAST_BLOCKS:
        return None  # nothing rests on so few
    over = _scatter(sample, "targets" if moments.K else "outputs")
    if over is not None:
        statistic, freedom = over
        ratio = statistic / freedom
        if ratio > _ORDERED_RATIO and statistic > freedom + _ORDERED_SIGMAS * math.sqrt(2 * freedom):
            return ratio
    under = _scatter(sample, "outputs")
    if under is not None and under[1] >= _TURNS_FREEDOM:
        statistic, freedom = under
        # A third root makes χ² about normal (Wilson & Hilferty 1931), also far below its mean.
        spread = 2 / (9 * freedom)
        if ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < -_TURNS_SIGMAS:
            return statistic / freedom
    return None


def _scatter(sample: Sample, block: BlockName) -> tuple[float, int] | None:
    """Hotelling's statistic of the blocks' means, and its degrees of freedom; None where there are none.

    With T² = Σ_b n_b d_bᵀ Σ⁺ d_b, d_b the difference of a block's mean from the mean and Σ the covariance, T² is about
    χ² with (G − 1)·rank Σ degrees of freedom when rows are in random order; for classes it is Pearson's statistic of
    the table of blocks and classes.
    """
    moments, parts = sample.moments, sample.parts
    white = span(moments, block, centered=True)
    freedom = (len(parts) - 1) * white.rank
    if freedom <= 0:
        return None
    offsets = np.stack([part.moments.mean(block) for part in parts]) - moments.mean(block)
    counts = np.array([part.moments.n for part in parts])
    return moments.n * float(counts @ np.sum((offsets @ white.coefficients) ** 2, axis=1)), freedom


def row_order_notice(ratio: float) -> Notice:
    """What to do when the rows are in an order."""
    if ratio > 1:
        times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
        what = f"Rows that lie together are alike: the blocks' means scatter {times} times as much as chance allows. "
        what += "The intervals are too wide"
    else:
        times = f"{ratio:.2f} times as much as" if ratio >= 0.01 else "hardly at all, far less than"
        what = f"Unlike rows come by turns: the blocks' means scatter {times} chance has it. "
        what += "The intervals hold for rows that come so, and are too narrow for rows drawn at random"
    return Notice("ordered_rows", f"{what}; D_LR can't be debiased. Pass --shuffle, or shuffle the data.")
