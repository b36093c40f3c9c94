"""D_LR against the number of rows, as SVG paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxrich.metrics.jackknife import Uncertainty
from onnxrich.report._svg import BOTTOM, LEFT, RIGHT, TOP, Line, Panel, Scale, path, whisker
from onnxrich.results.analysis import Analysis

# Variant of the line, and the metric that it draws.
_LINES = {"plain": "d_lr", "debiased": "d_lr_debiased"}


def panel(results: Sequence[Analysis]) -> Panel | None:
    """D_LR, plain and debiased, with its 95 % interval at the end; None when no model has blocks of rows."""
    found = [(index, result.uncertainty) for index, result in enumerate(results) if result.uncertainty is not None]
    drawn = [(index, sure) for index, sure in found if len(sure.rows) > 1 and "d_lr" in sure.convergence]
    if not drawn:
        return None
    x, y = _scales([sure for _, sure in drawn])
    lines = []
    for index, sure in drawn:
        for variant, name in _LINES.items():
            pairs = zip(sure.rows, sure.convergence.get(name, [None] * len(sure.rows)), strict=True)
            points = np.array([(n, value) for n, value in pairs if value is not None]).reshape(-1, 2)
            lines.append(Line(index, variant, path(x(points[:, 0]), y(points[:, 1]))))
        if (ends := sure.intervals.get("d_lr")) is not None:
            lines.append(Line(index, "interval", whisker(x, y, sure.rows[-1], (ends.low, ends.high))))
    return Panel("convergence", x, {"always": y}, lines)


def _scales(drawn: Sequence[Uncertainty]) -> tuple[Scale, Scale]:
    values = [value for sure in drawn for name in _LINES.values() for value in sure.convergence.get(name, ())]
    shown = [value for value in values if value is not None]
    shown += [
        end for sure in drawn if (ends := sure.intervals.get("d_lr")) is not None for end in (ends.low, ends.high)
    ]
    room = max(0.05 * (max(shown) - min(shown)), 0.005)
    rows = [n for sure in drawn for n in sure.rows]
    return (
        Scale(min(rows), max(rows), LEFT, RIGHT, log=True),
        Scale(max(0.0, min(shown) - room), min(1.0, max(shown) + room), BOTTOM, TOP),
    )
