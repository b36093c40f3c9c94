"""Text for a terminal."""

from __future__ import annotations

from onnxrich.report.kinds import Result, analyses_of, is_synthetic
from onnxrich.report.terminal import analysis, comparison, track
from onnxrich.report.terminal.page import Page
from onnxrich.results.comparison import Comparison
from onnxrich.results.track import Track


def render(result: Result, *, width: int | None = None, color: bool = False, ascii_only: bool = False) -> str:
    """Render a result as text for a terminal.

    Args:
        result: one analysis or several, a comparison, or a training.
        width: columns to fill; 100 by default.
        color: use ANSI colours.
        ascii_only: use no character beyond ASCII.
    """
    page = Page(width or 100, color=color, ascii_only=ascii_only)
    match result:
        case Track():
            parts = track.parts(page, result)
        case Comparison():
            parts = comparison.parts(page, result)
        case _:
            parts = analysis.parts(page, analyses_of(result))
    return page.text_of(parts, synthetic=is_synthetic(analyses_of(result)))
