"""A training by its steps: names of the checkpoints, rows of the table, and the metrics that share a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.metrics.jackknife import Interval
from onnxrich.moments.matrix import Array
from onnxrich.report import wording
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Similarity
from onnxrich.results.track import Track

# From this ratio of the last step to the first on, steps have a logarithmic scale.
LOGARITHMIC_FROM = 30
# Checkpoints whose curves are drawn.
MOST_CURVES = 6
# Metrics of each checkpoint in the table.
TABLE_METRICS = ("d_lr", "accuracy", "utilized_variance", "effective_rank", "nc1")
# Characters of a file name that stands for a step.
_LONGEST_FILE = 24


@dataclass(frozen=True, eq=False)
class Series:
    """One number against the step.

    Attributes:
        name: what it is.
        values: float64 array of shape (checkpoints,), NaN where it is undefined.
        low: lower ends of its 95 % intervals, NaN where they are unknown.
        high: upper ends.
    """

    name: str
    values: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class SeriesGroup:
    """Numbers that share a scale.

    Attributes:
        title: of their panel.
        meaning: one line.
        series: the numbers.
        is_share: whether they lie between 0 and 1.
    """

    title: str
    meaning: str
    series: Sequence[Series]
    is_share: bool = True


def series_groups(track: Track) -> list[SeriesGroup]:
    """Group the known numbers of a training; groups without numbers are left out."""
    noted = {name: values for name, values in track.noted.items() if "accuracy" in name}
    performance = [_metric(track, "accuracy"), *(_noted(name, values) for name, values in noted.items())]
    s_init = [] if track.s_init is None else [_s_init(track.s_init)]
    groups = [
        SeriesGroup("Richness", "D_LR: 0 = rich, 1 = lazy", [_metric(track, n) for n in ("d_lr", "d_lr_debiased")]),
        SeriesGroup("Performance", "Accuracy, which is no richness", performance),
        SeriesGroup("Use of the features", "Share of the variance that the outputs use",
                    [_metric(track, "utilized_variance"), _metric(track, "cka_outputs")]),
        SeriesGroup("Directions", "How many directions the features fill",
                    [_metric(track, "effective_rank"), _metric(track, "participation_ratio")], is_share=False),
        SeriesGroup("S_init", "How alike the features are to those of the start: linear CKA", s_init),
    ]  # fmt: skip
    known = [
        replace(group, series=[series for series in group.series if np.isfinite(series.values).any()])
        for group in groups
    ]
    return [group for group in known if group.series]


def positions(steps: Sequence[int]) -> tuple[Array, bool]:
    """Place ascending steps on their axis.

    Returns:
        The positions, float64 array of shape (checkpoints,), and whether the axis is logarithmic. On a logarithmic axis
        step 0 has half the position of the smallest positive step.
    """
    places = np.array(steps, dtype=np.float64)
    positive = places[places > 0]
    if len(positive) < 2 or positive[-1] < LOGARITHMIC_FROM * positive[0]:
        return places, False
    return np.where(places > 0, places, positive[0] / 2), True


def drawn_checkpoints(track: Track) -> list[int]:
    """Choose the checkpoints whose curves are drawn: the first, the last, the ends of transitions, and some between."""
    count = len(track.results)
    even = np.unique(np.linspace(0, count - 1, min(MOST_CURVES, count)).round().astype(int)).tolist()
    ends = [end for transition in track.transitions for end in (transition.start, transition.stop)]
    chosen = list(dict.fromkeys([0, count - 1, *ends, *even]))[:MOST_CURVES]
    return sorted(chosen)


def summary(track: Track) -> str:
    """Describe the transitions in one sentence."""
    if len(track.results) < 2:
        return "A single checkpoint: there is no course to follow."
    if any(analysis.record.data.synthetic for analysis in track.results):
        return "The inputs are random numbers: this smoke test says nothing about the training."
    names = checkpoint_names(track)
    falls = [
        f"from {names[transition.start]} to {names[transition.stop]} "
        f"({wording.difference(transition.change).removesuffix(' *')})"
        for transition in track.transitions
    ]
    if not falls:
        return "D_LR falls nowhere by more than chance explains: no transition from lazy to rich is marked."
    return f"From lazy to rich: D_LR falls {', and '.join(falls)}."


def axis_name(track: Track) -> str:
    """Name what the checkpoints are told apart by: their steps, or their numbers where no steps are known."""
    return "checkpoint" if track.origin == "position" else "step"


def step_labels(track: Track) -> list[str]:
    """Format the steps; numbers of checkpoints are followed by file names."""
    numbers = [f"{step:,}" for step in track.steps]
    if track.origin != "position":
        return numbers
    files = wording.labels(track.results, limit=_LONGEST_FILE)
    return [f"{number} ({file})" for number, file in zip(numbers, files, strict=True)]


def checkpoint_names(track: Track) -> list[str]:
    """Name the checkpoints, such as "step 1,400"."""
    return [f"{axis_name(track)} {label}" for label in step_labels(track)]


def table(track: Track) -> tuple[list[str], list[list[str]]]:
    """Format the table of checkpoints.

    Returns:
        Names of the columns (step, metrics, change of D_LR, S_init, noted numbers), and a row of cells a checkpoint.
    """
    measured = {name for analysis in track.results for name, value in analysis.metrics.items() if value is not None}
    metrics = [name for name in TABLE_METRICS if name == "d_lr" or name in measured]
    s_init, noted = track.s_init, track.noted
    names = [axis_name(track), metrics[0], "change", *metrics[1:], *(["s_init"] if s_init else [])]
    names += [name.replace("_", " ") for name in noted]
    rows = []
    for number, (label, analysis) in enumerate(zip(step_labels(track), track.results, strict=True)):
        d_lr, *others = (_cell(analysis, name) for name in metrics)
        row = [label, d_lr, wording.difference(track.changes[number].get("d_lr")), *others]
        row += [] if s_init is None else [_s_init_cell(s_init[number])]
        rows.append(row + [wording.number(values[number]) for values in noted.values()])
    return names, rows


def messages(track: Track) -> list[str]:
    """List the warnings of a training, and each kind of warning of its checkpoints once, with their names."""
    by_code: dict[str, list[tuple[str, str]]] = {}
    for name, analysis in zip(checkpoint_names(track), track.results, strict=True):
        for notice in analysis.notices:
            by_code.setdefault(notice.code, []).append((name, notice.message))
    shared = []
    for (name, message), *others in by_code.values():
        more = f" and {len(others)} more" if others else ""
        shared.append(f"{name}{more}: {message}")
    return [notice.message for notice in track.notices] + shared


def _cell(analysis: Analysis, name: str) -> str:
    value = wording.metric_value(name, analysis.metrics.get(name))
    return f"{value}{wording.spread(analysis, name)}" if name == "d_lr" and value != "-" else value


def _s_init_cell(estimate: Similarity | None) -> str:
    return "-" if estimate is None else f"{estimate.best.value:.4f}"


def _metric(track: Track, name: str) -> Series:
    intervals: list[Mapping[str, Interval]] = [
        {} if analysis.uncertainty is None else analysis.uncertainty.intervals for analysis in track.results
    ]
    ends = [known.get(name) for known in intervals]
    return Series(name, _array([analysis.metrics.get(name) for analysis in track.results]), *_bounds(ends))


def _noted(name: str, values: Sequence[float | None]) -> Series:
    return Series(f"{name.replace('_', ' ')} (noted)", _array(values), *_bounds([None] * len(values)))


def _s_init(similarities: Sequence[Similarity | None]) -> Series:
    known = [None if each is None else each.best for each in similarities]
    values = [None if estimate is None else estimate.value for estimate in known]
    bounds = _bounds([None if estimate is None else estimate.interval for estimate in known])
    return Series("S_init", _array(values), *bounds)


def _bounds(intervals: Sequence[Interval | None]) -> tuple[Array, Array]:
    return (
        _array([None if interval is None else interval.low for interval in intervals]),
        _array([None if interval is None else interval.high for interval in intervals]),
    )


def _array(values: Sequence[float | int | None]) -> Array:
    return np.array(values, dtype=np.float64)  # None becomes NaN
