"""Panels of the depth profile."""

from __future__ import annotations

import numpy as np
import pytest

from onnxrich.report.html import panels
from onnxrich.results.analysis import Analysis


def test_panels_are_drawn_at_the_values(deep: Analysis) -> None:
    """The line passes through (number of the layer, D_LR), and whiskers span the intervals."""
    richness, rank = panels.depth_panels([deep])
    y = richness.y["always"]
    line, bars = richness.lines
    points = np.cumsum([[float(part) for part in point.split()] for point in line.path[1:].split("l")], axis=0)
    expected = [(1, 0.75), (2, 0.5), (4, 0.375), (5, 0.125)]
    # Coordinates are written with one decimal.
    assert points == pytest.approx(
        np.array([(richness.x(np.array(k)), y(np.array(v))) for k, v in expected]), abs=0.051
    )
    assert bars.path.count("V") == 3
    assert f"V{float(y(np.array(0.77))):.1f}" in bars.path
    assert rank.y["always"].log
    # It ends at a round number, so that no line runs along its edge.
    most = max(layer.metrics["effective_rank"] or 0 for layer in deep.layers)
    assert rank.y["always"].high in (2, 5, 10, 20, 50) and most <= rank.y["always"].high < 2.5 * max(2, most)
    assert [label for _, label in richness.x.ticks()] == ["1", "2", "3", "4", "5"]
