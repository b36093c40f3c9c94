"""The depth profile of models whose hidden layers were measured: as rows of a table, and as SVG paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from onnxrich.errors import printable
from onnxrich.report import _words
from onnxrich.report._svg import BOTTOM, LEFT, RIGHT, TOP, Line, Panel, Scale, path, whisker
from onnxrich.results.analysis import Analysis
from onnxrich.results.layer import Layer

# Titles of the columns of `rows`: number, name, and the metrics, of which the reader has the meanings above.
COLUMNS: Mapping[str, Literal["left", "right"]] = {
    "": "right", "layer": "left", "p": "right", "D_LR": "right", "utilized": "right", "eff. rank": "right",
    "PR": "right",
}  # fmt: skip
# Title, metric and whether the scale is logarithmic, of each panel.
PANELS = {
    "richness": ("Richness by depth", "d_lr", False),
    "rank": ("Effective rank by depth", "effective_rank", True),
}
_LONGEST_NAME = 32


def named(results: Sequence[Analysis]) -> list[tuple[str, Analysis]]:
    """The models with hidden layers, with their names."""
    return [(name, result) for name, result in zip(_words.labels(results), results, strict=True) if result.layers]


def rows(result: Analysis) -> list[list[str]]:
    """A row of cells for each layer, as `COLUMNS` names them."""
    return [[str(number), *_row(layer)] for number, layer in enumerate(result.layers, 1)]


def pooling(result: Analysis) -> str:
    """How the rows of each layer are made, in a sentence."""
    told: dict[str, list[int]] = {}
    for number, layer in enumerate(result.layers, 1):
        told.setdefault(layer.rows, []).append(number)
    return "Rows: " + "; ".join(f"{kind} ({_ranges(numbers)})" for kind, numbers in told.items()) + "."


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers with those that follow each other drawn together, such as 1–3, 5."""
    starts = [number for number in numbers if number - 1 not in numbers]
    stops = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, stops, strict=True)
    return ", ".join(str(start) if start == stop else f"{start}–{stop}" for start, stop in pairs)


def panels(results: Sequence[Analysis]) -> list[Panel]:
    """D_LR with its 95 % intervals, and the effective rank, against the number of the layer; none without layers."""
    deep = [(index, result.layers) for index, result in enumerate(results) if result.layers]
    if not deep:
        return []
    x = Scale(1, max(2, *(len(layers) for _, layers in deep)), LEFT, RIGHT)
    return [_panel(name, metric, deep, x, log=log) for name, (_, metric, log) in PANELS.items()]


def ticks(x: Scale) -> list[tuple[float, str]]:
    """Positions and labels of some numbers of layers."""
    return [(place, label) for place, label in x.ticks() if label.isdigit()]


def _row(layer: Layer) -> list[str]:
    d_lr, found = layer.metrics["d_lr"], layer.intervals.get("d_lr")
    spread = "" if found is None else f" ± {found.half:.2g}"
    others = ("utilized_variance", "effective_rank", "participation_ratio")
    return [
        _words.shorten(printable(layer.scope or layer.name), _LONGEST_NAME), f"{layer.p:,}",
        _words.richness(d_lr) + spread, *(_words.number(layer.metrics[name]) for name in others),
    ]  # fmt: skip


def _panel(name: str, metric: str, deep: Sequence[tuple[int, tuple[Layer, ...]]], x: Scale, *, log: bool) -> Panel:
    known = [value for _, layers in deep for layer in layers if (value := layer.metrics[metric]) is not None]
    y = Scale(1, _round_up(max(2.0, *known)), BOTTOM, TOP, log=True) if log else Scale(0, 1, BOTTOM, TOP)
    lines = []
    for index, layers in deep:
        points = [(at, value) for at, layer in enumerate(layers, 1) if (value := layer.metrics[metric]) is not None]
        drawn = np.array(points, dtype=np.float64).reshape(-1, 2)
        lines.append(Line(index, "plain", path(x(drawn[:, 0]), y(drawn[:, 1]))))
        lines.append(Line(index, "interval", _whiskers(layers, metric, x, y)))
    return Panel(name, x, {"always": y}, lines)


def _round_up(value: float) -> float:
    """The next number of 1, 2, 5, 10, 20, 50, …: where an axis may end."""
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in (1, 2, 5, 10) if step * decade >= value))


def _whiskers(layers: Sequence[Layer], metric: str, x: Scale, y: Scale) -> str:
    found = [(at, layer.intervals[metric]) for at, layer in enumerate(layers, 1) if metric in layer.intervals]
    return "".join(whisker(x, y, at, (ends.low, ends.high)) for at, ends in found)
