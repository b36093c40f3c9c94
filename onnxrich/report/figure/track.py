"""Figure of a training: metrics against the step, above the curves of single eigenfunctions at several steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnxrich.report import steps
from onnxrich.report.figure.style import COLORS, mark_synthetic, new_figure, settings, write_plainly
from onnxrich.results.track import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(track: Track) -> Figure:
    """Draw a training in six panels; where fewer metrics are known, panels stay empty."""
    with settings():
        figure = new_figure(11, 7.4)
        above, below = figure.subplots(2, 3)
        groups = steps.series_groups(track)[:3]
        for axes, group in zip(above, groups, strict=False):
            _metrics(axes, group, track)
        for axes in above[len(groups) :]:
            axes.set_axis_off()
        for axes, name in zip(below, ("quality", "utilization", "intensity"), strict=True):
            _curves(axes, name, track)
        handles = below[2].get_legend_handles_labels()
        legend = figure.legend(*handles, loc="outside lower center", ncols=steps.MOST_CURVES)
        for text in legend.get_texts():
            write_plainly(text)
        mark_synthetic(figure, track.results, [])
    return figure


def _metrics(axes: Axes, group: steps.SeriesGroup, track: Track) -> None:
    """Draw one group of metrics against the step, with transitions shaded."""
    places, is_logarithmic = steps.positions(track.steps)
    axes.set_title(group.title)
    axes.set_xlabel(steps.axis_name(track))
    if is_logarithmic:
        axes.set_xscale("log")
        decades = 10.0 ** np.arange(np.ceil(np.log10(places[1])), np.floor(np.log10(places[-1])) + 1)
        start = [(places[0], "0")] if track.steps[0] == 0 else []
        ticks = [*start, *((step, f"{step:,.0f}") for step in decades)]
        axes.set_xticks([step for step, _ in ticks], [label for _, label in ticks])
    for transition in track.transitions:
        axes.axvspan(places[transition.start], places[transition.stop], color="#0e8f86", alpha=0.14, linewidth=0)
    for index, series in enumerate(group.series):
        color = COLORS[index % len(COLORS)]
        axes.plot(places, series.values, color=color, marker="o", markersize=3, linewidth=1.8, label=series.name)
        axes.vlines(places, series.low, series.high, color=color, linewidth=1)
    if group.is_share:
        axes.set_ylim(-0.02, 1.04)
    else:
        axes.set_ylim(bottom=0)
    for text in axes.legend(fontsize=8).get_texts():
        write_plainly(text)


def _curves(axes: Axes, name: str, track: Track) -> None:
    """Draw one kind of curve at several steps, from dark for the first to light for the last."""
    from matplotlib import colormaps

    checkpoints, names = steps.drawn_checkpoints(track), steps.checkpoint_names(track)
    for place, number in enumerate(checkpoints):
        curves = track.results[number].curves
        values = curves.intensity if name == "intensity" else curves.individual(name)
        if values is None:
            continue
        color = colormaps["viridis"](0.9 * place / max(1, len(checkpoints) - 1))
        axes.plot(curves.k, values, color=color, linewidth=1.6, label=names[number])
    axes.set_title(name.capitalize() if name == "intensity" else f"{name.capitalize()} of each feature")
    axes.set_xlabel("rank k")
    axes.set_xscale("log")
    if name == "intensity":
        axes.set_yscale("log")
