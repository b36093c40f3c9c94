"""Metrics against the step of training: which ones share a panel, and the panels as SVG paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxrich.moments.matrix import Array
from onnxrich.report._svg import BOTTOM, LEFT, RIGHT, TOP, Scale, path
from onnxrich.results.track import Track

# From this ratio of the last step to the first on, steps stand on a logarithmic scale.
LONG = 30


@dataclass(frozen=True, eq=False)
class Series:
    """One number against the step.

    Attributes:
        name: what it is.
        values: float64 array of shape (checkpoints,), NaN where it is undefined.
        low: lower ends of its 95 % intervals, NaN where they are not known.
        high: upper ends.
    """

    name: str
    values: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class Panel:
    """Numbers that share a scale.

    Attributes:
        title: of the panel.
        meaning: one line.
        series: the numbers.
        share: whether they lie between 0 and 1.
    """

    title: str
    meaning: str
    series: list[Series] = field(default_factory=list)
    share: bool = True


def panels(tracked: Track) -> list[Panel]:
    """The panels of a training, those left out that nothing is known of."""
    noted = {name: values for name, values in tracked.noted.items() if "accuracy" in name}
    performance = [_metric(tracked, "accuracy"), *(_noted(name, values) for name, values in noted.items())]
    alike = [] if tracked.s_init is None else [_s_init(tracked)]
    made = [
        Panel("Richness", "D_LR: 0 = rich, 1 = lazy", [_metric(tracked, n) for n in ("d_lr", "d_lr_debiased")]),
        Panel("Performance", "Accuracy, which is no richness", performance),
        Panel("Use of the features", "Share of the variance that the outputs use",
              [_metric(tracked, "utilized_variance"), _metric(tracked, "cka_outputs")]),
        Panel("Directions", "How many directions the features fill",
              [_metric(tracked, "effective_rank"), _metric(tracked, "participation_ratio")], share=False),
        Panel("S_init", "How alike the features are to those of the start: linear CKA", alike),
    ]  # fmt: skip
    kept = [(panel, [each for each in panel.series if np.isfinite(each.values).any()]) for panel in made]
    return [Panel(panel.title, panel.meaning, series, panel.share) for panel, series in kept if series]


def positions(steps: Sequence[int]) -> tuple[Array, bool]:
    """Where steps stand on their axis, and whether it is logarithmic: then 0 stands at half the smallest other step."""
    at = np.array(steps, dtype=np.float64)
    positive = at[at > 0]
    if len(positive) < 2 or positive[-1] < LONG * positive[0]:
        return at, False
    return np.where(at > 0, at, positive[0] / 2), True


def drawn(tracked: Track, look: Any) -> list[dict[str, Any]]:
    """The panels as SVG paths, for the page's template."""
    at, logarithmic = positions(tracked.steps)
    low, high = (float(at.min()), float(at.max())) if len(at) > 1 else (float(at[0]) - 1, float(at[0]) + 1)
    x = Scale(low, high, LEFT, RIGHT, log=logarithmic)
    ticks = x.ticks()
    if logarithmic and tracked.steps[0] == 0:
        ticks = [(LEFT, "0"), *((place, label) for place, label in ticks if place > LEFT + 30)]
    places = x(at)
    marked = [
        (round(float(places[each.start]), 1), round(float(places[each.stop] - places[each.start]), 1))
        for each in tracked.transitions
    ]
    return [_panel(panel, places, look) | {"x_ticks": ticks, "marked": marked} for panel in panels(tracked)]


def _panel(panel: Panel, x: Array, look: Any) -> dict[str, Any]:
    ends = np.concatenate([part for each in panel.series for part in (each.values, each.low, each.high)])
    top = float(np.nanmax(ends))
    y = Scale(0, 1 if panel.share else 1.05 * top or 1.0, BOTTOM, TOP)
    lines = []
    for index, each in enumerate(panel.series):
        there = np.isfinite(each.values)
        whiskers = [
            f"M{at:.1f} {float(y(low)):.1f}V{float(y(high)):.1f}"
            for at, low, high in zip(x, each.low, each.high, strict=True)
            if np.isfinite(low + high)
        ]
        line = path(x[there], y(each.values[there]))
        lines.append({"name": each.name, "look": look(index), "path": line, "errors": "".join(whiskers)})
    return {"title": panel.title, "meaning": panel.meaning, "lines": lines, "y_ticks": y.ticks()}


def _metric(tracked: Track, name: str) -> Series:
    known: list[Mapping[str, Any]] = [
        {} if result.uncertainty is None else result.uncertainty.intervals for result in tracked.results
    ]
    ends = [each.get(name) for each in known]
    return Series(
        name,
        _array([result.metrics.get(name) for result in tracked.results]),
        _array([None if each is None else each.low for each in ends]),
        _array([None if each is None else each.high for each in ends]),
    )


def _noted(name: str, values: Sequence[float | None]) -> Series:
    nothing = np.full(len(values), np.nan)
    return Series(f"{name.replace('_', ' ')} (noted)", _array(values), nothing, nothing)


def _s_init(tracked: Track) -> Series:
    found = tracked.s_init or ()
    ends = [None if each is None else each.interval for each in found]
    return Series(
        "S_init",
        _array([None if each is None else each.value for each in found]),
        _array([None if each is None else each.low for each in ends]),
        _array([None if each is None else each.high for each in ends]),
    )


def _array(values: Sequence[float | int | None]) -> Array:
    return np.array(values, dtype=np.float64)  # None becomes NaN
