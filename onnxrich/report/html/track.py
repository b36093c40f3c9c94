"""Variables of the page of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxrich.moments.matrix import Array
from onnxrich.report import steps
from onnxrich.report.html import analysis
from onnxrich.report.html.page import embed, warnings
from onnxrich.report.html.svg import BOTTOM, LEFT, RIGHT, TOP, Line, Panel, Scale, bar, look, path
from onnxrich.results.track import Track


def variables(track: Track) -> dict[str, Any]:
    """Give the variables of the template: those of some checkpoints, and the course of the training."""
    document = {name: value for name, value in track.to_dict().items() if name != "analyses"}
    checkpoints, names, labels = steps.drawn_checkpoints(track), steps.checkpoint_names(track), steps.step_labels(track)
    count = f"{len(labels)} checkpoints" if len(labels) > 1 else "A checkpoint"
    title = f"{count}, {steps.axis_name(track)} {labels[0]} to {labels[-1]}"
    columns, rows = steps.table(track)
    analyses, chosen = [track.results[number] for number in checkpoints], [names[number] for number in checkpoints]
    return analysis.variables(analyses, chosen) | {
        "title": title,
        "heading": title,
        "track": {
            "panels": panels(track),
            "note": f"{steps.summary(track)} Shaded: what is marked so. Bars are 95 % intervals.",
            "columns": columns,
            "rows": rows,
        },
        "warnings": warnings(track.notices),
        "documents": {"track.json": embed(document)},
    }


def panels(track: Track) -> list[Panel]:
    """Draw metrics against the step, with transitions shaded."""
    x, places = _step_axis(track.steps)
    shaded = [
        (round(float(places[transition.start]), 1), round(float(places[transition.stop] - places[transition.start]), 1))
        for transition in track.transitions
    ]
    drawn = []
    for group in steps.series_groups(track):
        y = _group_scale(group)
        lines = [line for index, series in enumerate(group.series) for line in _lines(index, series, places, y)]
        drawn.append(Panel(group.title, steps.axis_name(track), x, {"always": y}, lines, group.meaning, shaded))
    return drawn


def _step_axis(numbers: Sequence[int]) -> tuple[Scale, Array]:
    """Choose the scale of the steps, and place them, float64 array of shape (checkpoints,)."""
    values, is_logarithmic = steps.positions(numbers)
    # A single checkpoint stands in the middle.
    margin = 0.0 if len(values) > 1 else 1.0
    low, high = float(values.min()) - margin, float(values.max()) + margin
    x = Scale(low, high, LEFT, RIGHT, log=is_logarithmic, from_zero=is_logarithmic and numbers[0] == 0)
    return x, x(values)


def _group_scale(group: steps.SeriesGroup) -> Scale:
    if group.is_share:
        return Scale(0, 1, BOTTOM, TOP)
    ends = np.concatenate([array for series in group.series for array in (series.values, series.low, series.high)])
    return Scale(0, 1.05 * float(np.nanmax(ends)) or 1.0, BOTTOM, TOP)


def _lines(index: int, series: steps.Series, places: Array, y: Scale) -> list[Line]:
    """Draw one number against the step, and its intervals."""
    is_known, has_interval = np.isfinite(series.values), np.isfinite(series.low + series.high)
    line = Line(look(index), path(places[is_known], y(series.values[is_known])), name=series.name)
    ends = zip(places[has_interval], y(series.low[has_interval]), y(series.high[has_interval]), strict=True)
    bars = "".join(bar(*map(float, interval)) for interval in ends)
    return [line, *([Line(look(index), bars, "interval")] if bars else [])]
