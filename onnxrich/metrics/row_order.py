"""Test whether rows are in an order, so that blocks of them are no independent draws."""

from __future__ import annotations

import math

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.debiased import LEAST_BLOCKS
from onnxrich.metrics.linalg import compute_span, output_span
from onnxrich.moments.matrix import BlockName

# Notices that say that the rows are in an order, so that blocks of them are no independent draws.
ORDER_CODES = frozenset({"ordered_rows", "sorted_by_class"})

# Blocks hold different mixtures of rows if their means scatter by so much more than chance explains.
_SORTED_RATIO, _SORTED_SIGMAS = 1.5, 6.0
# Blocks share out unlike rows, and are not independent, if their means scatter by so much less than chance explains.
# With fewer degrees of freedom, outputs of few values do so by chance.
_ALTERNATING_SIGMAS, _LEAST_FREEDOM = 4.0, 10


def row_order_ratio(sample: Sample) -> float | None:
    """Scatter of the blocks' means relative to chance, if it is far from 1; else None.

    It is far above 1 if neighbouring rows are alike, as in sorted data. The means of the targets show that, or without
    labels those of the outputs. It is far below 1 if unlike rows alternate, one of each class. The outputs show that,
    because the order matters only as far as the classes determine the outputs.
    """
    from scipy.special import chdtr, ndtr

    if len(sample.blocks) < LEAST_BLOCKS:
        return None  # no error and no interval rests on so few blocks
    excess = _scatter_statistic(sample, "targets" if sample.moments.K else "outputs")
    if excess is not None:
        statistic, freedom = excess
        ratio = statistic / freedom
        if ratio > _SORTED_RATIO and statistic > freedom + _SORTED_SIGMAS * math.sqrt(2 * freedom):
            return ratio
    deficit = _scatter_statistic(sample, "outputs")
    if deficit is not None and deficit[1] >= _LEAST_FREEDOM:
        statistic, freedom = deficit
        if chdtr(freedom, statistic) < ndtr(-_ALTERNATING_SIGMAS):
            return statistic / freedom
    return None


def _scatter_statistic(sample: Sample, block: BlockName) -> tuple[float, int] | None:
    """Hotelling's statistic of the blocks' means, and its degrees of freedom; None if there are none.

    With T² = Σ_b n_b d_bᵀ Σ⁺ d_b, d_b the difference of a block's mean from the mean and Σ the covariance, T² is about
    χ² with (G − 1)·rank Σ degrees of freedom if rows are in random order. For classes it is Pearson's statistic of the
    table of blocks and classes.
    """
    moments = sample.moments
    is_output = block == "outputs"
    span = output_span(sample, centered=True) if is_output else compute_span(moments, block, centered=True)
    freedom = (len(sample.blocks) - 1) * span.rank
    if freedom <= 0:
        return None
    whole, parts = moments, [rows.moments for rows in sample.blocks]
    if is_output:
        whole, parts = sample.functions, [rows.functions for rows in sample.blocks]
    offsets = np.stack([part.mean(block) for part in parts]) - whole.mean(block)
    squares = np.sum((offsets @ span.coefficients) ** 2, axis=1)
    return moments.n * float(sample.block_rows @ squares), freedom


def row_order_notice(ratio: float) -> Notice:
    """Say which order the rows are in, what it does to intervals, and what to do."""
    if ratio > 1:
        times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
        order = f"Neighbouring rows are alike: the blocks' means scatter {times} times as much as chance explains."
        effect = "The intervals are too wide"
    else:
        times = f"{ratio:.2f} times as much as" if ratio >= 0.01 else "hardly at all, far less than"
        order = f"Unlike rows alternate: the blocks' means scatter {times} chance explains."
        effect = "The intervals hold for rows in this order, and are too narrow for rows drawn at random"
    remedy = "Pass --shuffle, or shuffle the data."
    return Notice("ordered_rows", f"{order} {effect}, and D_LR cannot be debiased. {remedy}")
