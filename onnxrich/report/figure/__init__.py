"""Figures, as matplotlib objects and as image files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from onnxrich.report.figure import analysis, track
from onnxrich.report.figure.style import image
from onnxrich.report.kinds import Result, analyses_of
from onnxrich.results.track import Track

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: Result) -> Figure:
    """Draw a result: the curves of analyses and comparisons, or the course of a training."""
    if isinstance(result, Track):
        return track.draw(result)
    return analysis.draw(analyses_of(result))


def render(result: Result, format: Literal["png", "svg"]) -> bytes:
    """Render the figure as the bytes of an image file; the same result gives the same bytes."""
    return image(draw(result), format)


def files(result: Result) -> dict[str, bytes]:
    """Give the figures of a result, as bytes by file name."""
    return {"figure.png": render(result, "png"), "figure.svg": render(result, "svg")}
