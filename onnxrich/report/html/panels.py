"""Panels of analyses: curves against rank, D_LR against the number of rows, and the depth profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxrich.metrics.jackknife import Interval, Uncertainty
from onnxrich.report.html.svg import BOTTOM, LEFT, RIGHT, TOP, Line, Panel, Scale, look, path, whisker
from onnxrich.results.analysis import Analysis
from onnxrich.results.layer import Layer

# Variants of the line of D_LR against rows, and the metric of each.
_CONVERGENCE = {"plain": "d_lr", "debiased": "d_lr_debiased"}


def curve_panels(analyses: Sequence[Analysis]) -> dict[str, Panel]:
    """Draw quality, utilization and intensity of all models, by name of the curve.

    Lines and grids of quality and utilization have the classes "cumulative" or "individual" and "span" or "variance",
    of which the script shows two at a time.
    """
    largest = max(2, *(len(analysis.curves.k) for analysis in analyses))
    x = Scale(1, largest, LEFT, RIGHT, log=True)
    return {
        "quality": _share_panel("quality", "How much of the targets the features hold", analyses, x),
        "utilization": _share_panel("utilization", "How much of the outputs the features hold", analyses, x),
        "intensity": _intensity_panel(analyses, x),
    }


def convergence_panel(analyses: Sequence[Analysis]) -> Panel | None:
    """Draw D_LR, plain and debiased, against rows, with its 95 % interval at the end; None without blocks of rows."""
    known = [
        (index, analysis.uncertainty)
        for index, analysis in enumerate(analyses)
        if analysis.uncertainty is not None
        and len(analysis.uncertainty.rows) > 1
        and "d_lr" in analysis.uncertainty.convergence
    ]
    if not known:
        return None
    x, y = _convergence_scales([uncertainty for _, uncertainty in known])
    lines = []
    for index, uncertainty in known:
        for variant, name in _CONVERGENCE.items():
            values = uncertainty.convergence.get(name, [None] * len(uncertainty.rows))
            lines.append(Line(look(index), _line(uncertainty.rows, values, x, y), variant))
        if (interval := uncertainty.intervals.get("d_lr")) is not None:
            lines.append(Line(look(index), _interval(uncertainty.rows[-1], interval, x, y), "interval"))
    return Panel("D_LR against the number of rows", "rows", x, {"always": y}, lines)


def depth_panels(analyses: Sequence[Analysis]) -> list[Panel]:
    """Draw D_LR and the effective rank of each layer, with 95 % intervals; no panels without layers."""
    profiles = [(index, analysis.layers) for index, analysis in enumerate(analyses) if analysis.layers]
    if not profiles:
        return []
    x = Scale(1, max(2, *(len(layers) for _, layers in profiles)), LEFT, RIGHT, integer=True)
    ranks = [layer.metrics["effective_rank"] or 0.0 for _, layers in profiles for layer in layers]
    scales = {
        "d_lr": Scale(0, 1, BOTTOM, TOP),
        "effective_rank": Scale(1, _round_up(max(2.0, *ranks)), BOTTOM, TOP, log=True),
    }
    titles = {"d_lr": "Richness by depth", "effective_rank": "Effective rank by depth"}
    return [
        Panel(titles[metric], "layer", x, {"always": y}, _depth_lines(profiles, metric, x, y))
        for metric, y in scales.items()
    ]


def _share_panel(name: str, meaning: str, analyses: Sequence[Analysis], x: Scale) -> Panel:
    y = {"cumulative": Scale(0, 1, BOTTOM, TOP)}
    lines = []
    for form, curve in {"span": name, "variance": f"{name}_variance"}.items():
        individual = [analysis.curves.individual(curve) for analysis in analyses]
        top = max((float(values.max(initial=0.0)) for values in individual if values is not None), default=0.0)
        y[f"individual {form}"] = Scale(0, 1.04 * top or 1.0, BOTTOM, TOP)
        for index, analysis in enumerate(analyses):
            k = x(analysis.curves.k.astype(np.float64))
            modes = {"cumulative": getattr(analysis.curves, curve), f"individual {form}": individual[index]}
            lines += [
                Line(look(index), path(k, y[mode](values)), f"{mode.split()[0]} {form}")
                for mode, values in modes.items()
                if values is not None
            ]
    return Panel(name.capitalize(), "rank k", x, y, lines, meaning)


def _intensity_panel(analyses: Sequence[Analysis], x: Scale) -> Panel:
    smallest = min((float(analysis.curves.intensity.min(initial=0.1)) for analysis in analyses), default=0.1)
    y = Scale(10.0 ** np.floor(np.log10(max(smallest, 1e-16))), 1, BOTTOM, TOP, log=True)
    lines = [
        Line(look(index), path(x(analysis.curves.k.astype(np.float64)), y(analysis.curves.intensity)), "always")
        for index, analysis in enumerate(analyses)
    ]
    meaning = "How large the features are: eigenvalues ρₖ/ρ₁"
    return Panel("Intensity", "rank k", x, {"always": y}, lines, meaning)


def _convergence_scales(uncertainties: Sequence[Uncertainty]) -> tuple[Scale, Scale]:
    values = []
    for uncertainty in uncertainties:
        curves = [uncertainty.convergence.get(name, ()) for name in _CONVERGENCE.values()]
        values += [value for curve in curves for value in curve if value is not None]
        if (interval := uncertainty.intervals.get("d_lr")) is not None:
            values += [interval.low, interval.high]
    margin = max(0.05 * (max(values) - min(values)), 0.005)
    rows = [n for uncertainty in uncertainties for n in uncertainty.rows]
    return (
        Scale(min(rows), max(rows), LEFT, RIGHT, log=True),
        Scale(max(0.0, min(values) - margin), min(1.0, max(values) + margin), BOTTOM, TOP),
    )


def _depth_lines(profiles: Sequence[tuple[int, Sequence[Layer]]], metric: str, x: Scale, y: Scale) -> list[Line]:
    lines = []
    for index, layers in profiles:
        numbers = range(1, len(layers) + 1)
        lines.append(Line(look(index), _line(numbers, [layer.metrics[metric] for layer in layers], x, y), "plain"))
        intervals = [(number, layer.intervals.get(metric)) for number, layer in zip(numbers, layers, strict=True)]
        whiskers = [_interval(number, interval, x, y) for number, interval in intervals if interval is not None]
        lines.append(Line(look(index), "".join(whiskers), "interval"))
    return lines


def _line(x_values: Sequence[float], y_values: Sequence[float | None], x: Scale, y: Scale) -> str:
    """Give the path through the known values."""
    pairs = [(left, value) for left, value in zip(x_values, y_values, strict=True) if value is not None]
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return path(x(points[:, 0]), y(points[:, 1]))


def _interval(value: float, interval: Interval, x: Scale, y: Scale) -> str:
    low, high = y(np.array([interval.low, interval.high]))
    return whisker(float(x(np.array(value))), float(low), float(high))


def _round_up(value: float) -> float:
    """Find the next number of 1, 2, 5, 10, 20, 50, …: where an axis may end."""
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in (1, 2, 5, 10) if step * decade >= value))
