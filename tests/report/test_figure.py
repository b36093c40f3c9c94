"""The figure of quality, utilization and intensity."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest

from onnxrich.report import figure
from onnxrich.results.analysis import Analysis


def texts(results: list[Analysis]) -> list[str]:
    """Every text of the figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.figure(results).findobj(Text)]


def test_panels_hold_the_curves(rich: Analysis, lazy: Analysis) -> None:
    """Each panel has the exact curves of each model: the span form solid or dashed, the variance form dotted."""
    quality, utilization, intensity = figure.figure([rich, lazy]).axes
    for panel, name in ((quality, "quality"), (utilization, "utilization")):
        lines = panel.get_lines()
        assert [line.get_linestyle() for line in lines] == ["-", ":", "--", ":"]
        for line, result, curve in zip(lines, [rich, rich, lazy, lazy], [name, f"{name}_variance"] * 2, strict=True):
            assert np.array_equal(line.get_xdata(), result.curves.k)
            assert np.array_equal(line.get_ydata(), getattr(result.curves, curve))
    assert [line.get_ydata().tolist() for line in intensity.get_lines()] == [
        result.curves.intensity.tolist() for result in (rich, lazy)
    ]
    assert [axes.get_xscale() for axes in (quality, utilization, intensity)] == ["log"] * 3
    assert intensity.get_yscale() == "log"


def test_legend_has_name_and_number(rich: Analysis, lazy: Analysis) -> None:
    """The legend names each model with its D_LR."""
    shown = texts([rich, lazy])
    assert f"rich.onnx   D_LR = {rich.metrics['d_lr']:.4f}" in shown
    assert f"lazy.onnx   D_LR = {lazy.metrics['d_lr']:.4f}" in shown


@pytest.mark.parametrize("format", ["png", "svg"])
def test_same_results_give_the_same_bytes(rich: Analysis, hostile: Analysis, format: Literal["png", "svg"]) -> None:
    """Image files have no date and no random identifier."""
    first = figure.render([rich, hostile], format)
    assert first == figure.render([rich, hostile], format)
    assert first.startswith(b"\x89PNG" if format == "png" else b"<?xml")


def test_names_are_no_formulas(maker: Callable[..., Analysis]) -> None:
    """`$`, `_`, `<` and characters without a glyph are drawn as they are; SVG stays well-formed."""
    for name in ("$x_1$.onnx", "_hidden.onnx", "$unbalanced.onnx", "</svg><script>--", "模型\x1b[31m.onnx"):
        result = maker(name)
        ElementTree.fromstring(figure.render([result], "svg"))
    (legend,) = figure.figure([maker("$x_1$.onnx")]).legends
    assert legend.get_texts()[0].get_text().startswith("$x_1$.onnx   D_LR")
    assert not legend.get_texts()[0].get_parse_math()
    assert any(text.startswith("_hidden.onnx   D_LR") for text in texts([maker("_hidden.onnx")]))


def test_without_labels_the_panel_says_so(unlabelled: Analysis, rich: Analysis) -> None:
    """The quality panel is not left blank without a word; with one labelled model it shows that one."""
    assert "no labels given" in texts([unlabelled])
    assert "no labels given" not in texts([unlabelled, rich])


def test_synthetic_data_are_marked_in_every_panel(synthetic: Analysis, rich: Analysis) -> None:
    """A cut-out of the figure still shows that the inputs were made up."""
    assert texts([rich, synthetic]).count("SYNTHETIC\nDATA") == 3
    assert "SYNTHETIC\nDATA" not in texts([rich])


def test_degenerate_curves_are_drawn(undefined: Analysis, single: Analysis) -> None:
    """No curve, and curves of one point, give a figure and no warning."""
    for result in (undefined, single):
        assert figure.render([result], "png").startswith(b"\x89PNG")


def test_more_models_than_colors_differ(maker: Callable[..., Analysis]) -> None:
    """Where colours repeat, dashes tell models apart."""
    lines = figure.figure([maker(f"{i}.onnx") for i in range(8)]).axes[2].get_lines()
    assert [line.get_color() for line in lines[6:]] == [line.get_color() for line in lines[:2]]
    # Matplotlib tells all dashes of one's own as "--": they are seen in the paths of the SVG.
    text = figure.render([maker(f"{i}.onnx") for i in range(8)], "svg").decode()
    drawn = {style for style in re.findall(r'style="(fill: none;[^"]*)"', text) if "stroke-width: 2" in style}
    looks = {tuple(re.findall(r"stroke: #\w{6}|stroke-dasharray: [\d., ]+", style)) for style in drawn}
    assert len(looks) == 8


def test_curves_that_coincide_show_through_each_other(lazy: Analysis) -> None:
    """The curves of six models that are the same show all six colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb

    canvas = FigureCanvasAgg(figure.figure([lazy] * 6))
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    # Below is the legend.
    seen = {tuple(pixel) for pixel in pixels[: len(pixels) * 3 // 4, :, :3].reshape(-1, 3).tolist()}
    assert {tuple(round(255 * part) for part in to_rgb(color)) for color in figure.COLORS} <= seen


def test_user_settings_change_nothing(rich: Analysis) -> None:
    """The figure doesn't depend on matplotlib's settings, and leaves them alone."""
    import matplotlib

    expected = figure.render([rich], "svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "svg.hashsalt": "other"}):
        assert figure.render([rich], "svg") == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_import_loads_no_matplotlib() -> None:
    """matplotlib is loaded by the first figure; `onnxrich.report` itself loads nothing."""
    program = (
        "import sys, onnxrich.report\n"
        "print([name for name in ('matplotlib', 'jinja2', 'rich', 'numpy') if name in sys.modules])\n"
        "from onnxrich.report import files, figure, html; print('matplotlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
