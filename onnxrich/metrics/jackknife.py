"""How sure the numbers are: block-jackknife errors and intervals, convergence, and whether there are enough rows.

The blocks are sums over disjoint rows that the same pass kept apart, so nothing runs a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from onnxrich.metrics import debiased
from onnxrich.metrics.base import Sample, Scale
from onnxrich.metrics.registry import ALL
from onnxrich.metrics.student import student_t
from onnxrich.moments.matrix import Array, Moments

# Half the interval of D_LR, and its bias, that are small enough to compare models by.
ENOUGH = 0.01
# Blocks after which convergence is looked at: fewer steps than blocks, for each costs as much as a block left out.
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Interval:
    """Standard error of a metric, and the ends of its 95 % interval."""

    error: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Uncertainty:
    """How sure the metrics are.

    Attributes:
        blocks: number of blocks.
        intervals: by name of the metric; those without one are facts, or undefined for some of the blocks.
        rows: numbers of rows after which convergence was looked at.
        convergence: by name, the metric after each of these; None where it is undefined.
        needed: rows that bring interval and bias of D_LR below `ENOUGH`; no more than there are when they suffice.
            None when that can't be said.
        summary: the same in a sentence.
        shares: share of the rows that each block holds.
        replicates: by name, the metric without each block: from those of two models on the same rows follows the error
            of their difference.
    """

    blocks: int
    intervals: Mapping[str, Interval]
    rows: tuple[float, ...]
    convergence: Mapping[str, tuple[float | None, ...]]
    needed: int | None
    summary: str
    shares: tuple[float, ...] = ()
    replicates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` gave, as an object; metrics that there are no more are left out.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: when it is of another form.
        """
        needed = values["needed"]
        return cls(
            int(values["blocks"]),
            {
                name: Interval(*(float(interval[key]) for key in ("error", "low", "high")))
                for name, interval in values["intervals"].items()
                if name in ALL
            },
            tuple(map(float, values["rows"])),
            {
                name: tuple(None if value is None else float(value) for value in each)
                for name, each in values["convergence"].items()
                if name in ALL
            },
            None if needed is None else int(needed),
            str(values["summary"]),
            tuple(values["shares"]),
            {name: tuple(each) for name, each in values["replicates"].items()},
        )


def estimate(sample: Sample, names: Sequence[str]) -> Uncertainty | None:
    """Errors of metrics; None without at least four blocks.

    Args:
        sample: all rows, with their blocks.
        names: of metrics; those that are None for the whole sample are left out.
    """
    if len(sample.parts) < debiased.LEAST_BLOCKS:
        return None
    defined, shares = _defined(sample, names), _shares(sample)
    replicates = _replicates(sample, defined)
    found = _intervals(sample, replicates, shares)
    rows, convergence = _convergence(sample, defined)
    needed, summary = _rows_needed(sample, found.get("d_lr"))
    kept = {name: tuple(replicates[name].tolist()) for name in found}
    return Uncertainty(len(sample.parts), found, rows, convergence, needed, summary, tuple(shares.tolist()), kept)


def intervals(sample: Sample, names: Sequence[str]) -> dict[str, Interval]:
    """95 % intervals alone, by name, of the metrics that have one; none without at least four blocks.

    Args:
        sample: all rows, with their blocks.
        names: of metrics.
    """
    if len(sample.parts) < debiased.LEAST_BLOCKS:
        return {}
    return _intervals(sample, _replicates(sample, _defined(sample, names)), _shares(sample))


def jackknife(value: float, left_out: Array, shares: Array) -> float:
    """Standard error of a value from what it is with each block left out, for blocks of any sizes.

    Source: Busing, Meijer & van der Leeden 1999: the delete-m_j jackknife. With h_j = n/m_j the pseudo-values are
    θ_j = h_j θ − (h_j − 1) θ_(−j), their centre is G θ − Σ_j (1 − m_j/n) θ_(−j), and the variance is the mean of
    (θ_j − centre)²/(h_j − 1).

    Args:
        value: θ.
        left_out: float64 array of shape (G,), θ without each block.
        shares: float64 array of shape (G,), each block's share m_j/n of the rows.
    """
    h = 1 / shares
    centre = len(left_out) * value - float(np.sum((1 - shares) * left_out))
    pseudo = h * value - (h - 1) * left_out
    return float(np.sqrt(np.mean((pseudo - centre) ** 2 / (h - 1))))


def _left_out(sample: Sample) -> Iterator[Sample]:
    """The sample without each of its blocks in turn."""
    whole = sample.moments
    for index, part in enumerate(sample.parts):
        block = part.moments.about(whole.shift)
        tallies = {name: total - block.tallies.get(name, 0.0) for name, total in whole.tallies.items()}
        rest = replace(whole, matrix=whole.matrix - block.matrix, tallies=tallies)
        yield replace(sample, moments=rest, parts=(*sample.parts[:index], *sample.parts[index + 1 :]))


def _defined(sample: Sample, names: Sequence[str]) -> list[str]:
    return [name for name in names if ALL[name].scale != "fact" and sample.once(ALL[name].compute) is not None]


def _shares(sample: Sample) -> Array:
    return np.array([part.moments.n for part in sample.parts]) / sample.moments.n


def _replicates(sample: Sample, names: Sequence[str]) -> dict[str, Array]:
    """Metrics without each block: float64 arrays of shape (G,), NaN where one is undefined."""
    stand_ins = {name: make(sample) for name in names if (make := ALL[name].first_order) is not None}
    found: dict[str, list[float | None]] = {name: [] for name in names}
    for other in _left_out(sample):
        for name in names:
            found[name].append(stand_ins[name](other) if name in stand_ins else other.once(ALL[name].compute))
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}  # None becomes NaN


def _intervals(sample: Sample, replicates: Mapping[str, Array], shares: Array) -> dict[str, Interval]:
    kept: dict[str, Interval] = {}
    for name, left_out in replicates.items():
        value = sample.once(ALL[name].compute)
        if value is not None and np.isfinite(left_out).all():
            made = interval(float(value), left_out, shares, scale=ALL[name].scale)
            kept |= {name: made} if math.isfinite(made.high - made.low) else {}
    return kept


def interval(value: float, left_out: Array, shares: Array, *, scale: Scale) -> Interval:
    """Jackknife error and 95 % interval, Student's t with G − 1 degrees of freedom on the scale that fits the range.

    Args:
        value: of the metric.
        left_out: float64 array of shape (G,), the metric without each block.
        shares: float64 array of shape (G,), each block's share of the rows.
        scale: "share" for values in 0 … 1 (logit), "positive" for those above 0 (logarithm), "real" for any.
    """
    error = jackknife(value, left_out, shares)
    quantile = student_t(len(left_out) - 1)
    transform, back = _SCALES[scale]
    moved = np.array([value, *left_out])
    inside = moved.min() > 0 and (scale != "share" or moved.max() < 1)
    if scale == "real" or not inside:
        low, high = _BOUNDS[scale]
        return Interval(error, max(low, value - quantile * error), min(high, value + quantile * error))
    moved = transform(moved)
    reach = quantile * jackknife(float(moved[0]), moved[1:], shares)
    return Interval(error, *(float(end) for end in back(moved[0] + np.array([-reach, reach]))))


_SCALES: Mapping[Scale, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "share": (lambda x: np.log(x / (1 - x)), lambda x: 1 / (1 + np.exp(-x))),
    "positive": (np.log, np.exp),
    "real": (np.asarray, np.asarray),
}
_BOUNDS: Mapping[Scale, tuple[float, float]] = {
    "share": (0.0, 1.0), "positive": (0.0, math.inf), "real": (-math.inf, math.inf),
}  # fmt: skip


def _convergence(sample: Sample, names: Sequence[str]) -> tuple[tuple[float, ...], dict[str, tuple[float | None, ...]]]:
    # Metrics that stand-ins follow are too costly to compute again and again, and of few rows no stand-in tells them;
    # but for D_LR without bias, whose sums over pairs of blocks are cheap. Readouts are those that were fitted to all.
    followed = (name for name in names if ALL[name].first_order is None and ALL[name].family != "readouts")
    ways = {name: ALL[name].compute for name in followed}
    if "d_lr_debiased" in names:
        ways["d_lr_debiased"] = _debiased_of_some(sample)
    rows: list[float] = []
    found: dict[str, list[float | None]] = {name: [] for name in ways}
    total: Moments | None = None
    for count, part in enumerate(sample.parts, 1):
        total = part.moments if total is None else total.merge(part.moments)
        if count not in _STEPS and count < len(sample.parts):
            continue
        some: Sample = replace(sample, moments=total, parts=sample.parts[:count])
        rows.append(total.n)
        for name, compute in ways.items():
            found[name].append(some.once(compute))
    return tuple(rows), {name: tuple(values) for name, values in found.items()}


def _debiased_of_some(sample: Sample) -> Callable[[Sample], float | None]:
    make = ALL["d_lr_debiased"].first_order
    assert make is not None  # noqa: S101 - as the metric says
    stand_in = make(sample)

    def compute(some: Sample) -> float | None:
        value = stand_in(some) if len(some.parts) >= debiased.LEAST_BLOCKS else math.nan
        return float(np.clip(value, 0, 1)) if math.isfinite(value) else None

    return compute


def _rows_needed(sample: Sample, spread: Interval | None) -> tuple[int | None, str]:
    n = sample.moments.n
    bias = debiased.bias(sample, n)
    if spread is None or bias is None:
        return None, "Whether there are enough rows can't be said of these blocks."
    sign = "−" if bias < 0 else "+"
    now = f"D_LR is known to ±{spread.half:.2g}, and its bias at so many rows is {sign}{abs(bias):.1g}"
    factor = max(1.0, (spread.half / ENOUGH) ** 2)
    while abs(debiased.bias(sample, n * factor) or 0.0) > ENOUGH and factor < 1e6:
        factor *= 1.05
    if factor == 1:
        return round(n), f"Enough rows: {now}."
    # Two digits: it is an extrapolation.
    needed = float(f"{n * factor:.1e}")
    return round(needed), f"{now}. About {needed:,.0f} rows ({factor:.2g} times as many) bring both below {ENOUGH}."
