"""A training as text: the transitions, and a line a checkpoint."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from onnxrich.report import steps, wording
from onnxrich.report.terminal.analysis import facts
from onnxrich.report.terminal.page import Page
from onnxrich.results.track import Track

# Cells of the line from rich to lazy.
_RAIL = 11
# Short headings of metrics with long names.
_HEADINGS = {"utilized_variance": "utilized", "effective_rank": "eff. rank", "change": "change of d_lr"}


def parts(page: Page, track: Track) -> list[RenderableType]:
    """Render a training; the facts are those of its last checkpoint."""
    return [
        page.text(steps.summary(track), "bold"),
        _checkpoints(page, track),
        facts(page, track.results[-1:]),
        page.text(wording.NOT_PERFORMANCE, "dim"),
        page.warnings(steps.messages(track)),
    ]


def _checkpoints(page: Page, track: Track) -> Table:
    """Tabulate the checkpoints; where the page is too narrow, the last metrics are left out."""
    names, rows = steps.table(track)
    columns = {
        name: [_HEADINGS.get(name, name), *cells] for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    # The interval of D_LR is left to its change, where it is that of a pair.
    columns["d_lr"] = [cell.split(" ± ")[0] for cell in columns["d_lr"]]
    for name in reversed(names):
        if sum(3 + max(map(len, cells)) for cells in columns.values()) + _RAIL <= page.width:
            break
        if name not in (names[0], "d_lr", "change"):
            del columns[name]
    table = page.table(header=True)
    for heading, *_ in columns.values():
        table.add_column(page.text(heading), justify="right", no_wrap=True)
    table.add_column(page.text("rich … lazy"), no_wrap=True)
    for number, analysis in enumerate(track.results, 1):
        cells = [page.text(column[number]) for column in columns.values()]
        table.add_row(*cells, page.rail(analysis.metrics["d_lr"], _RAIL))
    return table
