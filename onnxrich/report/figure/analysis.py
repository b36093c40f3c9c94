"""Figure of analyses: quality, utilization and intensity against rank, and D_LR by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxrich.report import wording
from onnxrich.report.figure.style import look, mark_synthetic, new_figure, settings, write_plainly
from onnxrich.report.kinds import with_evaluations
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(analyses: Sequence[Analysis]) -> Figure:
    """Draw quality and utilization (cumulative) and intensity against rank, all models in the same panels.

    A fourth panel shows D_LR by depth where hidden layers were measured.
    """
    analyses = with_evaluations(analyses)
    has_layers = any(analysis.layers for analysis in analyses)
    with settings():
        figure = new_figure(14.5 if has_layers else 11, 4)
        quality, utilization, intensity, *depth = figure.subplots(1, 4 if has_layers else 3)
        _cumulative(quality, analyses, "quality", "share of the targets")
        _cumulative(utilization, analyses, "utilization", "share of the outputs")
        _intensity(intensity, analyses)
        for axes in depth:
            _depth(axes, analyses)
        _legend(figure, analyses)
        mark_synthetic(figure, analyses, figure.axes)
    return figure


def _rank_axis(axes: Axes, analyses: Sequence[Analysis]) -> None:
    largest = max((len(analysis.curves.k) for analysis in analyses), default=1)
    axes.set_xlabel("rank k (the first k features)")
    axes.set_xscale("log")
    axes.set_xlim(0.92, max(largest, 2) * 1.08)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:.0f}" if largest < 10 else "")


def _cumulative(axes: Axes, analyses: Sequence[Analysis], name: str, label: str) -> None:
    axes.set_title(name.capitalize())
    axes.set_ylabel(label)
    _rank_axis(axes, analyses)
    axes.set_ylim(-0.02, 1.04)
    is_empty = True
    for index, analysis in enumerate(analyses):
        curve, variance = getattr(analysis.curves, name), getattr(analysis.curves, f"{name}_variance")
        if curve is None:
            continue
        is_empty = False
        marker = "o" if len(curve) == 1 else ""
        axes.plot(analysis.curves.k, curve, **look(index), linewidth=2, marker=marker)
        dotted = look(index) | {"linestyle": ":"}
        axes.plot(analysis.curves.k, variance, **dotted, linewidth=1.1, marker=marker)
    if is_empty:
        axes.text(0.5, 0.12, "no labels given", transform=axes.transAxes, ha="center", color="#666666", fontsize=12)


def _intensity(axes: Axes, analyses: Sequence[Analysis]) -> None:
    axes.set_title("Intensity")
    axes.set_ylabel("eigenvalue ρₖ / ρ₁")
    _rank_axis(axes, analyses)
    axes.set_yscale("log")
    for index, analysis in enumerate(analyses):
        curves = analysis.curves
        axes.plot(curves.k, curves.intensity, **look(index), linewidth=2, marker="o" if len(curves.k) == 1 else "")


def _depth(axes: Axes, analyses: Sequence[Analysis]) -> None:
    """Draw D_LR of each layer, with its interval."""
    axes.set_title("Richness by depth")
    axes.set_ylabel("D_LR: 0 rich, 1 lazy")
    axes.set_xlabel("layer")
    axes.set_ylim(-0.02, 1.04)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for index, analysis in enumerate(analyses):
        values = [np.nan if layer.metrics["d_lr"] is None else layer.metrics["d_lr"] for layer in analysis.layers]
        axes.plot(range(1, len(values) + 1), values, **look(index), linewidth=2, marker="o", markersize=3)
        for number, layer in enumerate(analysis.layers, 1):
            if (interval := layer.intervals.get("d_lr")) is not None:
                axes.vlines(number, interval.low, interval.high, color=look(index)["color"])


def _legend(figure: Figure, analyses: Sequence[Analysis]) -> None:
    from matplotlib.lines import Line2D

    names = wording.labels(analyses, limit=36)
    numbers = [wording.metric(analysis, "d_lr") for analysis in analyses]
    words = [f"{name}   D_LR = {number}" for name, number in zip(names, numbers, strict=True)]
    handles = [Line2D([], [], linewidth=2, **look(index)) for index in range(len(analyses))]
    words.append("dotted: variance instead of span")
    handles.append(Line2D([], [], linewidth=1.1, color="#666666", linestyle=":"))
    # A label that begins with "_" would be left out: set the texts afterwards.
    legend = figure.legend(
        handles, [" "] * len(handles), loc="outside lower center", ncols=min(3, len(handles)), handlelength=2.4
    )
    for text, label in zip(legend.get_texts(), words, strict=True):
        write_plainly(text, label)
