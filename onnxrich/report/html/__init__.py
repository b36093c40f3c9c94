"""One self-contained HTML page: no request, no script but its own, the exact numbers inside."""

from __future__ import annotations

from html import escape

from onnxrich.report.html import analysis, comparison, track
from onnxrich.report.html.page import fill_template
from onnxrich.report.kinds import Result, analyses_of
from onnxrich.results.comparison import Comparison
from onnxrich.results.track import Track


def render(result: Result) -> str:
    """Render a result as an HTML page; the same result gives the same page."""
    match result:
        case Track():
            variables = track.variables(result)
        case Comparison():
            variables = comparison.variables(result)
        case _:
            variables = analysis.variables(analyses_of(result))
    return fill_template(variables)


def render_frame(result: Result) -> str:
    """Render a page for a notebook, in a frame that keeps its style and script apart from the notebook's."""
    source = escape(render(result), quote=True)
    return f'<iframe srcdoc="{source}" title="onnxrich report" width="100%" height="900" frameborder="0"></iframe>'


def files(result: Result) -> dict[str, bytes]:
    """Give the page of a result, as bytes by file name."""
    return {"report.html": render(result).encode("utf-8")}
