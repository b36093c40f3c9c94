"""Errors and intervals of metrics by the block jackknife, convergence, and the number of rows that is needed.

The blocks are sums over disjoint rows that the same pass kept apart. So no pass runs a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np

from onnxrich.metrics.base import Sample, Scale, leave_out_each
from onnxrich.metrics.debiased import LEAST_BLOCKS, expected_bias, jackknife_corrected
from onnxrich.metrics.registry import METRICS, compute_metric
from onnxrich.moments.matrix import Array, Moments

# Half the interval of D_LR, and its bias, that are small enough for a comparison of models.
ENOUGH = 0.01
# Numbers of blocks after which convergence is computed. There are fewer than blocks, because each costs as much as a
# block left out.
_CONVERGENCE_STEPS = (1, 2, 3, 4, 6, 8, 12, 16)
# Ends of the values on each scale.
_BOUNDS: Mapping[Scale, tuple[float, float]] = {
    "share": (0.0, 1.0), "clipped": (0.0, 1.0), "positive": (0.0, math.inf), "real": (-math.inf, math.inf),
}  # fmt: skip


# Names in the JSON document of an interval. `error` is the standard error by its name in version 0.1.0.
INTERVAL_NAMES = ("standard_error", "half_width", "low", "high", "error")


@dataclass(frozen=True)
class Interval:
    """Standard error of a metric, and the ends of its 95 % interval."""

    standard_error: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """The standard error, by its name in version 0.1.0."""
        return self.standard_error

    @property
    def half(self) -> float:
        """Half the width, by its name in version 0.1.0."""
        return self.half_width

    @property
    def half_width(self) -> float:
        """Half the width of the interval: what reports print behind ±."""
        return (self.high - self.low) / 2

    def to_dict(self) -> dict[str, float]:
        """Convert to JSON-able values."""
        return {name: getattr(self, name) for name in INTERVAL_NAMES}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Convert what `to_dict` returned, now or in version 0.1.0.

        Raises:
            KeyError, TypeError, ValueError: if it has another form.
        """
        return cls(*(float(values[key]) for key in ("error", "low", "high")))


@dataclass(frozen=True)
class Uncertainty:
    """Errors of the metrics, their convergence, and the number of rows that is needed.

    Attributes:
        blocks: number of blocks.
        intervals: by name of the metric. Facts, and metrics that are undefined without some block, have none.
        rows: numbers of rows after which convergence was computed.
        convergence: by name, the metric after each of these numbers; None where it is undefined.
        needed: rows that bring interval and bias of D_LR below `ENOUGH`; the number of all rows if they suffice. None
            if the blocks do not determine it.
        summary: the same in a sentence.
        shares: share of the rows in each block.
        replicates: by name, the metric without each block. Those of two models on the same rows give the error of the
            difference.
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
        """Convert to JSON-able values."""
        intervals = {name: interval.to_dict() for name, interval in self.intervals.items()}
        return asdict(self) | {"intervals": intervals}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Convert what `to_dict` returned. Metrics that no longer exist are left out.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: if it has another form.
        """
        convergence = {
            name: tuple(None if value is None else float(value) for value in curve)
            for name, curve in values["convergence"].items()
            if name in METRICS
        }
        return cls(
            blocks=int(values["blocks"]),
            intervals={name: Interval.from_dict(ends) for name, ends in values["intervals"].items() if name in METRICS},
            rows=tuple(map(float, values["rows"])),
            convergence=convergence,
            needed=None if values["needed"] is None else int(values["needed"]),
            summary=str(values["summary"]),
            shares=tuple(values["shares"]),
            replicates={name: tuple(replicates) for name, replicates in values["replicates"].items()},
        )


def estimate(sample: Sample, names: Sequence[str]) -> Uncertainty | None:
    """Estimate the errors of metrics; None with fewer than four blocks.

    Args:
        sample: all rows, with their blocks.
        names: of metrics. Those that are undefined for the whole sample are left out.
    """
    if len(sample.blocks) < LEAST_BLOCKS:
        return None
    defined, shares = _defined_names(sample, names), _block_shares(sample)
    replicates = _replicates(sample, defined)
    intervals = _intervals(sample, replicates, shares)
    rows, convergence = _convergence(sample, defined)
    needed, summary = _rows_needed(sample, intervals.get("d_lr"))
    return Uncertainty(
        blocks=len(sample.blocks),
        intervals=intervals,
        rows=rows,
        convergence=convergence,
        needed=needed,
        summary=summary,
        shares=tuple(shares.tolist()),
        replicates={name: tuple(replicates[name].tolist()) for name in intervals},
    )


def estimate_intervals(sample: Sample, names: Sequence[str]) -> dict[str, Interval]:
    """Estimate 95 % intervals alone, by name, of the metrics that have one; none with fewer than four blocks.

    Args:
        sample: all rows, with their blocks.
        names: of metrics.
    """
    if len(sample.blocks) < LEAST_BLOCKS:
        return {}
    return _intervals(sample, _replicates(sample, _defined_names(sample, names)), _block_shares(sample))


def jackknife_error(value: float, left_out: Array, shares: Array) -> float:
    """Standard error of a value from the values without each block, for blocks of any sizes.

    Source: Busing, Meijer & van der Leeden 1999: the delete-m_j jackknife. With h_j = n/m_j the pseudo-values are
    θ_j = h_j θ − (h_j − 1) θ_(−j), their centre is G θ − Σ_j (1 − m_j/n) θ_(−j), and the variance is the mean of
    (θ_j − centre)²/(h_j − 1).

    Args:
        value: θ.
        left_out: float64 array of shape (G,), θ without each block.
        shares: float64 array of shape (G,), each block's share m_j/n of the rows.
    """
    h = 1 / shares
    centre = jackknife_corrected(value, left_out, shares)
    pseudo = h * value - (h - 1) * left_out
    return float(np.sqrt(np.mean((pseudo - centre) ** 2 / (h - 1))))


def student_t_quantile(freedom: int, level: float = 0.95) -> float:
    """The t with P(|T| < t) = level for Student's T with so many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def jackknife_interval(value: float, left_out: Array, shares: Array, *, scale: Scale) -> Interval:
    """Jackknife error and 95 % interval: Student's t with G − 1 degrees of freedom on the scale that fits the range.

    Args:
        value: of the metric.
        left_out: float64 array of shape (G,), the metric without each block.
        shares: float64 array of shape (G,), each block's share of the rows.
        scale: "share" for values in 0 … 1 (logit), "positive" for those above 0 (logarithm), "real" for any, "clipped"
            for those of any size that are cut off at 0 and 1.
    """
    error = jackknife_error(value, left_out, shares)
    quantile = student_t_quantile(len(left_out) - 1)
    values = np.array([value, *left_out])
    is_inside = values.min() > 0 and (scale != "share" or values.max() < 1)
    if scale in ("real", "clipped") or not is_inside:
        low, high = _BOUNDS[scale]
        return Interval(error, max(low, value - quantile * error), min(high, value + quantile * error))
    transform, inverse = _transform(scale)
    transformed = transform(values)
    half = quantile * jackknife_error(float(transformed[0]), transformed[1:], shares)
    return Interval(error, *(float(end) for end in inverse(transformed[0] + np.array([-half, half]))))


def _transform(scale: Scale) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """The function that maps a bounded scale to all real numbers, and its inverse."""
    from scipy.special import expit, logit

    return (logit, expit) if scale == "share" else (np.log, np.exp)


def _defined_names(sample: Sample, names: Sequence[str]) -> list[str]:
    """Names of the metrics that are no facts, and defined for the sample."""
    return [name for name in names if METRICS[name].scale != "fact" and compute_metric(sample, name) is not None]


def _block_shares(sample: Sample) -> Array:
    return sample.block_rows / sample.moments.n


def _replicates(sample: Sample, names: Sequence[str]) -> dict[str, Array]:
    """Metrics without each block: float64 arrays of shape (G,), NaN where one is undefined."""
    approximations = {name: make(sample) for name in names if (make := METRICS[name].first_order) is not None}
    replicates: dict[str, list[float | None]] = {name: [] for name in names}
    for rest in leave_out_each(sample):
        for name in names:
            value = approximations[name](rest) if name in approximations else compute_metric(rest, name)
            replicates[name].append(value)
    return {name: np.array(values, dtype=np.float64) for name, values in replicates.items()}  # None becomes NaN


def _intervals(sample: Sample, replicates: Mapping[str, Array], shares: Array) -> dict[str, Interval]:
    """Intervals by name of the metrics that are defined without each block, if their ends are finite."""
    intervals: dict[str, Interval] = {}
    for name, left_out in replicates.items():
        value = compute_metric(sample, name)
        if value is not None and np.isfinite(left_out).all():
            interval = jackknife_interval(float(value), left_out, shares, scale=METRICS[name].scale)
            if math.isfinite(interval.high - interval.low):
                intervals[name] = interval
    return intervals


def _convergence(sample: Sample, names: Sequence[str]) -> tuple[tuple[float, ...], dict[str, tuple[float | None, ...]]]:
    """Numbers of rows, and by name of the metric its values for so many first rows."""
    # A metric with a first-order approximation is too costly to compute repeatedly, and a few rows are too far from the
    # whole sample for the approximation. D_LR without bias is the exception: its sums over pairs of blocks are cheap.
    # The readouts were fitted to all rows.
    followed = (name for name in names if METRICS[name].first_order is None and METRICS[name].family != "readouts")
    functions: dict[str, Callable[[Sample], float | None]]
    functions = {name: partial(compute_metric, name=name) for name in followed}
    if "d_lr_debiased" in names:
        functions["d_lr_debiased"] = _debiased_of_first_blocks(sample)
    rows: list[float] = []
    values: dict[str, list[float | None]] = {name: [] for name in functions}
    total: Moments | None = None
    for count, block in enumerate(sample.blocks, 1):
        total = block.moments if total is None else total.merge(block.moments)
        if count not in _CONVERGENCE_STEPS and count < len(sample.blocks):
            continue
        first: Sample = replace(sample, moments=total, blocks=sample.blocks[:count])
        rows.append(total.n)
        for name, compute in functions.items():
            values[name].append(compute(first))
    return tuple(rows), {name: tuple(curve) for name, curve in values.items()}


def _debiased_of_first_blocks(sample: Sample) -> Callable[[Sample], float | None]:
    make = METRICS["d_lr_debiased"].first_order
    assert make is not None  # noqa: S101 - the metric defines it
    approximation = make(sample)

    def compute(first: Sample) -> float | None:
        value = approximation(first) if len(first.blocks) >= LEAST_BLOCKS else math.nan
        return float(np.clip(value, 0, 1)) if math.isfinite(value) else None

    return compute


def _rows_needed(sample: Sample, interval: Interval | None) -> tuple[int | None, str]:
    """Rows that bring interval and bias of D_LR below `ENOUGH`, and a sentence about them."""
    n = sample.moments.n
    bias = expected_bias(sample, n)
    if interval is None or bias is None:
        return None, "These blocks do not show whether there are enough rows."
    sign, direction = ("−", "rich") if bias < 0 else ("+", "lazy")
    precision = f"D_LR is known to ±{interval.half_width:.2g}, and its bias at so many rows is {sign}{abs(bias):.1g}"
    precision += f", towards {direction}" if abs(bias) > ENOUGH else ""
    factor = max(1.0, (interval.half_width / ENOUGH) ** 2)
    while abs(expected_bias(sample, n * factor) or 0.0) > ENOUGH and factor < 1e6:
        factor *= 1.05
    if factor == 1:
        return round(n), f"Enough rows: {precision}."
    # Two digits, because it is an extrapolation.
    needed = float(f"{n * factor:.1e}")
    return round(needed), (
        f"{precision}. About {needed:,.0f} rows ({factor:.2g} times as many) bring both below {ENOUGH}."
    )
