"""Differences between analyses with their errors: of metrics, of features (CKA), and along a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from onnxrich.metrics.jackknife import INTERVAL_NAMES, Interval, jackknife_interval, student_t_quantile
from onnxrich.metrics.registry import METRICS
from onnxrich.metrics.similarity import FeatureSums, debiased_cka, leave_out_each, linear_cka
from onnxrich.metrics.unbiased import BlockProducts, feature_sums
from onnxrich.moments.matrix import Array, Moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.anchors import Initial

# The numbers of two models.
Pair = tuple[int, int]

# Probability that at least one fall is marked in a training in which D_LR does not change.
FALSE_ALARM = 0.05
# A transition is at least this share of the largest fall, and at least this fall of D_LR: on the same rows even a
# difference of rounding is significant.
LEAST_SHARE, LEAST_FALL = 0.5, 0.01


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and 95 % interval, None where they are not known.

    `paired` says whether the error is that of two models on the same rows, where random variation partly cancels.
    """

    value: float
    interval: Interval | None = None
    paired: bool = False

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        interval = dict.fromkeys(INTERVAL_NAMES) if self.interval is None else self.interval.to_dict()
        return {"value": self.value, **interval, "paired": self.paired}


@dataclass(frozen=True)
class Similarity(Estimate):
    """Linear CKA of the features of two models on the same rows, and without the bias of few rows.

    `debiased` is CKA of infinitely many rows; None where independent blocks of rows do not determine it.
    """

    debiased: Estimate | None = None

    @property
    def best(self) -> Estimate:
        """The debiased estimate where there is one."""
        return self.debiased or self

    def to_dict(self) -> dict[str, Any]:
        """Return the estimates as JSON values."""
        return super().to_dict() | {"debiased": None if self.debiased is None else self.debiased.to_dict()}


@dataclass(frozen=True)
class Transition:
    """A stretch of training from lazy to rich.

    Attributes:
        start: number of the checkpoint before it.
        stop: number of the checkpoint after it.
        change: change of D_LR from one to the other, below 0.
    """

    start: int
    stop: int
    change: Estimate


def same_rows(first: Analysis, second: Analysis) -> bool:
    """Tell whether two analyses rest on the same rows in the same blocks, whatever their files are called."""
    return _layout(first) == _layout(second)


def _layout(analysis: Analysis) -> tuple[str, int, str, int, int]:
    data, runtime = analysis.record.data, analysis.record.runtime
    return data.fingerprint, data.n, runtime.sequence, runtime.batch_size, runtime.runs


def difference(first: Analysis, second: Analysis) -> dict[str, Estimate]:
    """Subtract the metrics of the first analysis from those of the second, except facts about the model.

    On the same rows the error is that of the difference itself: the jackknife over d_(−g) = mᵇ_(−g) − mᵃ_(−g), the
    metrics of both without the same block of rows (Busing, Meijer & van der Leeden 1999), so that variation that both
    share cancels. Otherwise the squares of the two errors add up.
    """
    if first is second:
        return {}
    pairs = {name: (first.metrics.get(name), value) for name, value in second.metrics.items()}
    return {
        name: _difference(first, second, name, float(after) - float(before))
        for name, (before, after) in pairs.items()
        if before is not None and after is not None and METRICS[name].scale != "fact"
    }


def with_initial(analysis: Analysis, initial: Analysis) -> Analysis:
    """Return an analysis that is read against that of the network before its training."""
    change = difference(initial, analysis).get("d_lr")
    known = initial.uncertainty
    start = Initial(
        initial.record.model.path,
        initial.record.model.sha256,
        initial.metrics["d_lr"],
        None if known is None else known.intervals.get("d_lr"),
        initial.moments.p,
        initial.components.rank,
        None if change is None else change.value,
        None if change is None else change.interval,
    )
    return replace(analysis, record=replace(analysis.record, initial=start))


def _difference(first: Analysis, second: Analysis, name: str, value: float) -> Estimate:
    a, b = first.uncertainty, second.uncertainty
    if a is None or b is None or name not in a.intervals or name not in b.intervals:
        return Estimate(value)
    if same_rows(first, second) and a.shares == b.shares:
        replicates = np.array(b.replicates[name]) - np.array(a.replicates[name])
        return Estimate(value, jackknife_interval(value, replicates, np.array(a.shares), scale="real"), paired=True)
    intervals = (a.intervals[name], b.intervals[name])
    half = float(np.hypot(intervals[0].half_width, intervals[1].half_width))
    error = float(np.hypot(intervals[0].standard_error, intervals[1].standard_error))
    return Estimate(value, Interval(error, value - half, value + half))


def similarities(
    moments: Sequence[Moments],
    blocks: Sequence[Sequence[Moments]],
    products: Mapping[Pair, Sequence[Array]],
    *,
    ordered: Sequence[bool],
) -> dict[Pair, Similarity]:
    """Compute linear CKA of pairs of models, with the block jackknife where products were kept for each block.

    Args:
        moments: moments of each model.
        blocks: blocks of moments of each model; empty where they were not kept apart.
        products: Σ (φᵃ − shift)(φᵇ − shift)ᵀ of each block, or of all rows, by the numbers of the two models.
        ordered: whether the rows of each model are in an order, so that the blocks are no independent draws.
    """
    wholes = [FeatureSums.from_moments(total) for total in moments]
    in_blocks = any(len(parts) > 1 for parts in products.values())
    rests = [leave_out_each(total, parts) for total, parts in zip(moments, blocks, strict=True)] if in_blocks else []
    about = [[part.about(total.shift) for part in parts] for total, parts in zip(moments, blocks, strict=True)]
    features = [BlockProducts.of_features(parts) for parts in about] if in_blocks else []
    estimates = {}
    for (a, b), parts in products.items():
        total = np.sum(parts, axis=0)
        value = linear_cka(wholes[a], wholes[b], total)
        if value is None:
            continue
        if len(parts) == 1:
            estimates[a, b] = Similarity(value)
            continue
        replicates = [linear_cka(rests[a][g], rests[b][g], total - part) for g, part in enumerate(parts)]
        shares = np.array([part.n for part in blocks[a]]) / moments[a].n
        defined = np.array([float("nan") if cka is None else cka for cka in replicates])
        known = None not in replicates
        interval = jackknife_interval(value, defined, shares, scale="share") if known else None
        debiased = None
        if not (ordered[a] or ordered[b]):
            both = BlockProducts.from_sums(features[a].counts, parts, *(feature_sums(about[model]) for model in (a, b)))
            debiased = _debiased(debiased_cka(features[a], features[b], both), shares)
        estimates[a, b] = Similarity(value, interval, paired=True, debiased=debiased)
    return estimates


def _debiased(found: tuple[float, Array] | None, shares: Array) -> Estimate | None:
    """An estimate of what `debiased_cka` found, given each block's share of the rows."""
    if found is None:
        return None
    value = float(np.clip(found[0], 0, 1))
    return Estimate(value, jackknife_interval(value, found[1], shares, scale="clipped"), paired=True)


def transitions(analyses: Sequence[Analysis]) -> tuple[Transition, ...]:
    """Find where D_LR falls significantly and by much: stretches of training from lazy to rich.

    The change of D_LR between two checkpoints has the error of a pair. A fall counts when it exceeds Student's t times
    that error and `LEAST_FALL`. The level of t is 1 − 0.05/m (Bonferroni), so that in a training of m intervals without
    any change a fall counts with a probability of at most `FALSE_ALARM`. Of those that count, the largest and all of
    at least half its size are marked, and marked neighbours are joined.
    """
    level = 1 - FALSE_ALARM / max(1, len(analyses) - 1)
    falls: dict[int, float] = {}
    for number, (before, after) in enumerate(pairwise(analyses)):
        change = difference(before, after).get("d_lr")
        blocks = [0 if analysis.uncertainty is None else analysis.uncertainty.blocks for analysis in (before, after)]
        if change is None or change.interval is None:
            continue
        if -change.value > max(LEAST_FALL, student_t_quantile(min(blocks) - 1, level) * change.interval.standard_error):
            falls[number] = -change.value
    marked = [number for number, fall in falls.items() if fall >= LEAST_SHARE * max(falls.values())]
    stretches: list[list[int]] = []
    for number in marked:
        if stretches and stretches[-1][-1] == number - 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    ends = [(stretch[0], stretch[-1] + 1) for stretch in stretches]
    return tuple(Transition(start, stop, difference(analyses[start], analyses[stop])["d_lr"]) for start, stop in ends)
