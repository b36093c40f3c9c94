"""Plots as SVG: scales with ticks, paths, and panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxrich.moments.matrix import Array

# Size of the drawing and edges of the plot in it. One unit is about one pixel of a screen.
WIDTH, HEIGHT = 380, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 360, 12, 222
# Distinct colours and kinds of dashes; further models repeat the colours with other dashes.
COLORS = 6
# Most intervals between the ticks of a linear axis, and most ticks of a logarithmic one.
_MOST_INTERVALS, _MOST_DECADES = 5, 7
# Least distance of the next tick from one that stands for 0 on a logarithmic axis.
_CLEAR_OF_ZERO = 30
# Half the width of the end of an interval.
_CAP = 4
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """A map from values to positions in the drawing.

    Attributes:
        low: value at the start.
        high: value at the end.
        start: position of the low value.
        stop: position of the high value.
        log: whether the map is logarithmic.
        integer: whether ticks stand at whole numbers alone.
        from_zero: whether the start of a logarithmic axis stands for 0.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    integer: bool = False
    from_zero: bool = False

    def __call__(self, values: Array) -> Array:
        """Place values, float64 array of any shape, in the drawing."""
        low, high = self.low, self.high
        if self.log:
            values, low, high = np.log(np.maximum(values, 1e-300)), float(np.log(low)), float(np.log(high))
        places: Array = self.start + (self.stop - self.start) * (values - low) / (high - low)
        return places

    def ticks(self) -> list[tuple[float, str]]:
        """Give positions and labels of round values."""
        values = self._tick_values()
        places = [round(float(place), 2) for place in self(np.array(values))]
        first, last = sorted((self.start, self.stop))
        ticks = [
            (place, self._label(value)) for place, value in zip(places, values, strict=True) if first <= place <= last
        ]
        if self.from_zero:
            return [(self.start, "0"), *(tick for tick in ticks if tick[0] > self.start + _CLEAR_OF_ZERO)]
        return ticks

    def _tick_values(self) -> Sequence[float]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        if not self.log:
            locator = MaxNLocator(_MOST_INTERVALS, steps=[1, 2, 2.5, 5, 10], integer=self.integer)
            return [float(value) for value in locator.tick_values(self.low, self.high)]
        # Within two decades, powers of ten alone would be too few.
        subs = (1.0,) if self.high >= 100 * self.low else (1.0, 2.0, 5.0)
        logarithmic = LogLocator(subs=subs, numticks=_MOST_DECADES)
        return [float(value) for value in logarithmic.tick_values(self.low, self.high)]

    def _label(self, value: float) -> str:
        if not self.log or value > 0.05 or not float(np.log10(value)).is_integer():
            return f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"
        return "10" + str(round(np.log10(value))).translate(_SUPERSCRIPT)


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        look: classes of its colour and dashes.
        path: `d` of its SVG path.
        variant: classes that say when, or how, it is shown.
        name: what the legend calls it; "" for a line that the legend leaves out.
    """

    look: str
    path: str
    variant: str = ""
    name: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: of the panel.
        x_name: name of the horizontal axis.
        x: horizontal scale.
        y: vertical scales, by the class that says when their grid is shown; "always" where there is one alone.
        lines: the curves.
        meaning: one line below the title.
        shaded: left ends and widths of the stretches that are shaded.
    """

    title: str
    x_name: str
    x: Scale
    y: Mapping[str, Scale]
    lines: Sequence[Line]
    meaning: str = ""
    shaded: Sequence[tuple[float, float]] = ()


def look(index: int) -> str:
    """Choose the classes of colour and dashes of a model."""
    return f"s{index % COLORS} d{(index + index // COLORS) % COLORS}"


def path(x: Array, y: Array) -> str:
    """Give the `d` of an SVG path through points; a dot (with round caps) for a single one, "" for none.

    Coordinates are rounded to tenths and written relative to the point before, which is shorter.

    Args:
        x: positions, float64 array of shape (n,), ascending.
        y: positions, float64 array of shape (n,).
    """
    tenths = np.round(10 * np.column_stack([x, y])[visible_points(x, y)])
    height = tenths[:, 1]
    is_between = np.zeros(len(tenths), dtype=np.bool_)
    is_between[1:-1] = (height[1:-1] == height[:-2]) & (height[1:-1] == height[2:])
    corners = tenths[~is_between]
    moves = np.diff(corners, axis=0, prepend=0) / 10
    points = [f"{right:g} {down:g}" for right, down in moves]
    return "" if not points else f"M{'l'.join(points)}" + ("h0" if len(points) == 1 else "")


def bar(x: float, low: float, high: float) -> str:
    """Give the `d` of an SVG path for an interval, from positions."""
    return f"M{x:.1f} {low:.1f}V{high:.1f}"


def whisker(x: float, low: float, high: float) -> str:
    """Give the `d` of an SVG path for an interval with caps at its ends, from positions."""
    caps = "".join(f"M{x - _CAP:.1f} {end:.1f}h{2 * _CAP}" for end in (low, high))
    return bar(x, low, high) + caps


def visible_points(x: Array, y: Array) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Choose the points of a curve to draw: the first, the last, and the lowest and highest of each pixel column.

    Args:
        x: positions, float64 array of shape (n,), ascending.
        y: positions, float64 array of shape (n,).

    Returns:
        Ascending indices, an integer array.
    """
    if not len(x):
        return np.arange(0)
    columns = np.floor(x)
    by_height = np.lexsort((y, columns))
    starts = np.flatnonzero(np.diff(columns, prepend=-np.inf))
    stops = np.append(starts[1:], len(x)) - 1
    return np.unique(np.concatenate([[0], by_height[starts], by_height[stops], [len(x) - 1]]))
