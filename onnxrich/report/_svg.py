"""Curves as SVG paths: scales, ticks, and Douglas-Peucker thinning of long curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxrich.moments.matrix import Array
from onnxrich.results.analysis import Analysis

WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 360, 12, 222
# Half of the distance, in units of the drawing, by which a thinned curve may leave the exact one.
TOLERANCE = 0.15
# Half the width of the ends of an interval.
WHISKER = 4
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """A map from values to positions in the drawing; logarithmic when asked."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: Array) -> Array:
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log(np.maximum(values, 1e-300)), float(np.log(low)), float(np.log(high))
        placed: Array = self.start + (self.stop - self.start) * (values - low) / (high - low)
        return placed

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of round values."""
        values = self._decades() if self.log else self._steps()
        places = self(np.array(values))
        return [(round(float(place), 2), self._label(value)) for place, value in zip(places, values, strict=True)]

    def _decades(self) -> list[float]:
        first, last = int(np.ceil(np.log10(self.low) - 1e-9)), int(np.floor(np.log10(self.high) + 1e-9))
        stride = max(1, -(-(last - first) // 6))
        if last - first < 2:
            return [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5) if m * 10.0**e <= self.high]
        return [10.0**e for e in range(last, first - 1, -stride)]

    def _steps(self) -> list[float]:
        raw = (self.high - self.low) / 5
        size = 10.0 ** np.floor(np.log10(raw))
        step = float(next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999))
        first, last = int(np.ceil(self.low / step - 1e-9)), int(np.floor(self.high / step + 1e-9))
        return [step * i for i in range(first, last + 1)]

    def _label(self, value: float) -> str:
        if not self.log or value > 0.05 or not float(np.log10(value)).is_integer():
            return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
        return "10" + str(round(np.log10(value))).translate(_SUPERSCRIPT)


@dataclass(frozen=True)
class Line:
    """One curve: index of its model, the variant of the panel it belongs to, and its path."""

    series: int
    variant: str
    path: str


@dataclass(frozen=True)
class Panel:
    """One panel. It has a y scale for "cumulative", one for each form of "individual"; intensity has "always" alone."""

    name: str
    x: Scale
    y: dict[str, Scale]
    lines: list[Line]


def panels(results: Sequence[Analysis]) -> list[Panel]:
    """The panels quality, utilization and intensity of all models."""
    largest = max(2, *(len(result.curves.k) for result in results))
    x = Scale(1, largest, LEFT, RIGHT, log=True)
    return [_shares("quality", results, x), _shares("utilization", results, x), _intensity(results, x)]


def _shares(name: str, results: Sequence[Analysis], x: Scale) -> Panel:
    forms = {"span": name, "variance": f"{name}_variance"}
    y = {"cumulative": Scale(0, 1, BOTTOM, TOP)}
    lines = []
    for form, curve in forms.items():
        individual = [result.curves.individual(curve) for result in results]
        top = max((float(values.max(initial=0.0)) for values in individual if values is not None), default=0.0)
        y[f"individual {form}"] = Scale(0, 1.04 * top or 1.0, BOTTOM, TOP)
        for index, result in enumerate(results):
            drawn = (("cumulative", getattr(result.curves, curve)), (f"individual {form}", individual[index]))
            for scale, values in drawn:
                if values is not None:
                    k = result.curves.k.astype(np.float64)
                    lines.append(Line(index, f"{scale.split()[0]} {form}", path(x(k), y[scale](values))))
    return Panel(name, x, y, lines)


def _intensity(results: Sequence[Analysis], x: Scale) -> Panel:
    smallest = min((float(result.curves.intensity.min(initial=0.1)) for result in results), default=0.1)
    y = Scale(10.0 ** np.floor(np.log10(max(smallest, 1e-16))), 1, BOTTOM, TOP, log=True)
    lines = [
        Line(index, "always", path(x(result.curves.k.astype(np.float64)), y(result.curves.intensity)))
        for index, result in enumerate(results)
    ]
    return Panel("intensity", x, {"always": y}, lines)


def path(x: Array, y: Array) -> str:
    """The `d` of an SVG path through the points; empty without points, a dot (with round caps) through a single one."""
    keep = thin(np.column_stack([x, y]), TOLERANCE)
    points = [f"{x[i]:.1f} {y[i]:.1f}" for i in np.flatnonzero(keep)]
    return "" if not points else f"M{'L'.join(points)}" + ("h0" if len(points) == 1 else "")


def whisker(x: Scale, y: Scale, at: float, ends: tuple[float, float]) -> str:
    """The `d` of an SVG path for an interval: a bar between its ends."""
    place, low, high = float(x(np.array(at))), float(y(np.array(ends[0]))), float(y(np.array(ends[1])))
    left, width = place - WHISKER, 2 * WHISKER
    return f"M{place:.1f} {low:.1f}V{high:.1f}M{left:.1f} {low:.1f}h{width}M{left:.1f} {high:.1f}h{width}"


def thin(points: Array, tolerance: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which points of a polyline to keep so that it moves by no more than the tolerance.

    Source: Douglas & Peucker 1973, with a stack instead of recursion.

    Args:
        points: float64 array of shape (n, 2).
        tolerance: in the units of the points.
    """
    keep = np.zeros(len(points), dtype=np.bool_)
    keep[:1] = keep[-1:] = True
    stack = [(0, len(points) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        chord = points[last] - points[first]
        offset = points[first + 1 : last] - points[first]
        # Distance to the segment, not to the line through it.
        along = np.clip(offset @ chord / max(float(chord @ chord), 1e-12), 0, 1)
        distance = np.hypot(*(offset - along[:, None] * chord).T)
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            stack += [(first, middle), (middle, last)]
    return keep
