"""The depth profile in all reports: what is shown is what the layers say, and names are text alone."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from onnxrich.metrics.jackknife import Interval
from onnxrich.report import _depth, figure, html, terminal
from onnxrich.results.analysis import Analysis
from onnxrich.results.layer import Layer

HOSTILE = "</script><img src=x>\x1b[31m" + "x" * 60


def layer(name: str, d_lr: float | None, *, rows: str = "mean over positions", sure: bool = True) -> Layer:
    metrics = dict.fromkeys(("utilized_variance", "effective_rank", "participation_ratio"), 2.5) | {"d_lr": d_lr}
    intervals = {"d_lr": Interval(0.01, d_lr - 0.02, d_lr + 0.02)} if sure and d_lr is not None else {}
    return Layer(name, "", "Conv+Relu", rows, 64, metrics, intervals, (0.7, 0.3))


@pytest.fixture
def deep(lazy: Analysis) -> Analysis:
    """Analysis with five layers, of which the third has no D_LR and the last no interval."""
    layers = (
        layer("first", 0.75), layer(HOSTILE, 0.5, rows="token 0"), layer("third", None), layer("fourth", 0.375),
        layer("last", 0.125, rows="as the head's", sure=False),
    )  # fmt: skip
    return replace(lazy, record=replace(lazy.record, layers=layers))


def test_terminal_has_a_line_a_layer(deep: Analysis, lazy: Analysis) -> None:
    """Each layer's number, name, width, D_LR with half its interval, and a marker at its place."""
    text = terminal.render([deep], width=120)
    assert re.search(r"^1 +first +64 +0\.7500 ± 0\.02 +2\.5 +2\.5 +2\.5 +├────────●──┤$", text, re.MULTILINE)
    assert re.search(r"^3 +third +64 +- +2\.5 +2\.5 +2\.5 +├───────────┤$", text, re.MULTILINE)
    assert re.search(r"^5 +last +64 +0\.1250 ", text, re.MULTILINE)
    said = "Layers of lazy.onnx, against the outputs of its head. Rows: mean over positions (1, 3–4); token 0 (2); "
    assert said + "as the head's (5)." in re.sub(r"\s+", " ", text)
    assert "\x1b" not in text
    assert "(1, 3-4)" in terminal.render([deep], ascii_only=True)
    assert "Layers of" not in terminal.render([lazy], width=120)


def test_page_has_panels_and_a_table(deep: Analysis, lazy: Analysis) -> None:
    """The page draws D_LR and the effective rank against the layer, with intervals, and lists all layers as text."""
    page = html.render([lazy, deep])
    assert "Richness by depth" in page
    assert "Effective rank by depth" in page
    assert page.count('<tr><td class="value">') == 5
    assert "<img src=x>" not in page.split("<script")[0]
    assert "&lt;/script&gt;" in page
    assert "Layer by layer" not in html.render([lazy])


def test_panels_are_drawn_at_the_values(deep: Analysis) -> None:
    """The line passes through (number of the layer, D_LR), and whiskers span the intervals."""
    richness, rank = _depth.panels([deep])
    y = richness.y["always"]
    line, bars = richness.lines
    points = np.array([point.split() for point in line.path[1:].split("L")], dtype=float)
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
    assert [label for _, label in _depth.ticks(richness.x)] == ["1", "2", "3", "4", "5"]


def test_figure_has_a_fourth_panel(deep: Analysis, lazy: Analysis) -> None:
    """The figure shows D_LR by depth when there are layers, and is as before when there are none."""
    drawn = figure.figure([deep])
    depth = drawn.axes[3]
    assert depth.get_title(loc="left") == "Richness by depth"
    assert np.array(depth.lines[0].get_ydata()) == pytest.approx(
        [0.75, 0.5, np.nan, 0.375, 0.125], abs=1e-12, nan_ok=True
    )
    assert len(figure.figure([lazy]).axes) == 3
