"""Analysis as text for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxrich.errors import printable
from onnxrich.metrics.registry import FAMILIES, MEANINGS
from onnxrich.report import _depth, _words
from onnxrich.results.analysis import Analysis

_ASCII = str.maketrans(
    {
        "Σ": "sum ", "λ": "l", "²": "^2", "₁": "1", "→": "->", "·": "*", "−": "-", "≥": ">=", "≤": "<=", "…": "...",
        "–": "-", "±": "+/-", "∝": "~", "α": "alpha",
    }
)  # fmt: skip
_SHORT_SCALE, _SHORTEST_SCALE = 21, 13


def render(
    results: Sequence[Analysis], *, width: int | None = None, color: bool = False, ascii_only: bool = False
) -> str:
    """Analysis as text, models side by side.

    Args:
        results: one or several analyses.
        width: columns to fill; 100 when left out.
        color: use ANSI colours.
        ascii_only: use no character beyond ASCII.
    """
    results = _words.series(results)
    page = Page(ascii_only)
    columns = width or 100
    parts = [
        page.headline(results, columns), page.sentences(results), page.facts(results), page.metrics(results),
        *(page.layers(name, result) for name, result in _depth.named(results)), page.warnings(results),
    ]  # fmt: skip
    return printed(page.marked(parts, results), columns, color=color)


def printed(parts: Sequence[RenderableType], width: int, *, color: bool) -> str:
    """The text of some parts, one below the other."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=color, color_system="standard" if color else None,
        legacy_windows=False, force_jupyter=False, highlight=False, markup=False, emoji=False, _environ={},
    )  # fmt: skip
    with console.capture() as capture:
        for part in parts:
            console.print(Padding(part, (0, 0, 1, 0)))
    # Without colour the layout pads with blanks, which only get in the way of copying.
    lines = capture.get().rstrip().split("\n")
    return "\n".join(line if color else line.rstrip() for line in lines) + "\n"


class Page:
    """The parts of the page. Every text goes through `text`: no markup, no control character."""

    def __init__(self, ascii_only: bool) -> None:
        self.ascii_only = ascii_only

    def text(self, words: str, style: str = "") -> Text:
        words = printable(words)
        if self.ascii_only:
            words = words.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return Text(words, style=style, overflow="fold")

    def table(self, *, header: bool) -> Table:
        lines = None if self.ascii_only or not header else box.SIMPLE_HEAD
        return Table(box=lines, show_header=header, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))

    def loud(self, words: str) -> Text:
        return self.text(f"!!! {words} !!!", "bold red reverse")

    def marked(self, parts: Sequence[RenderableType], results: Sequence[Analysis]) -> list[RenderableType]:
        """The parts, with a loud line before and behind them when data were made up."""
        loud = [self.loud(_words.SYNTHETIC)] if any(result.record.data.synthetic for result in results) else []
        return [*loud, *parts, *loud]

    def headline(self, results: Sequence[Analysis], width: int) -> RenderableType:
        """D_LR of each model on the scale from rich to lazy."""
        names = _words.labels(results, limit=24)
        table = self.table(header=False)
        taken = max(map(cell_len, names)) + len("  D_LR 0.0000  rich 0    lazy 1")
        for name, result in zip(names, results, strict=True):
            d_lr = result.metrics["d_lr"]
            scale = self.scale(d_lr, max(_SHORT_SCALE, min(61, width - taken)))
            table.add_row(self.text(name, "bold"), self.text(f"D_LR {_words.richness(d_lr)}", "bold"), scale)
        for column in table.columns[1:]:
            column.no_wrap = True
        return table

    def scale(self, d_lr: float | None, cells: int) -> Text:
        """A line from `rich 0` to `lazy 1` with a marker."""
        rail = self.rail(d_lr, cells)
        if d_lr is None:
            return Text.assemble("rich 0 ", rail, " lazy 1", style="dim")
        return Text.assemble(("rich 0 ", "cyan"), rail, (" lazy 1", "yellow"))

    def rail(self, d_lr: float | None, cells: int) -> Text:
        """A line with a marker where D_LR lies."""
        left, line, right, marker = "|-|o" if self.ascii_only else "├─┤●"
        rail = [left, *line * (cells - 2), right]
        if d_lr is None:
            return Text("".join(rail), "dim")
        at = round(d_lr * (cells - 1))
        return Text.assemble("".join(rail[:at]), (marker, "bold magenta"), "".join(rail[at + 1 :]))

    def sentences(self, results: Sequence[Analysis]) -> Text:
        """What the numbers mean."""
        lines = []
        for name, result in zip(_words.labels(results), results, strict=True):
            place, meaning = _words.verdict(result)
            lines.append(f"{name}: {place}. {meaning}" if len(results) > 1 else f"{place.capitalize()}: {meaning}")
            lines.append(_words.sure(result))
        body = Text("\n").join([self.text(line) for line in lines])
        return Text("\n").join([body, self.text(_words.NOT_PERFORMANCE, "dim")])

    def facts(self, results: Sequence[Analysis]) -> Table:
        """Model, head, data and runtime."""
        table = self.table(header=False)
        columns = [_words.facts(result) for result in results]
        for name in columns[0]:
            values = [column[name] for column in columns]
            # What all models share is said once.
            shown = values if len(results) == 1 or len(set(values)) > 1 else [values[0], *["same"] * (len(values) - 1)]
            table.add_row(self.text(name, "cyan"), *(self.text(value) for value in shown))
        for column in table.columns[1:]:
            column.ratio = 1
        return table

    def metrics(self, results: Sequence[Analysis]) -> Table:
        """Every metric, with what it means or why it is undefined."""
        table = self.table(header=True)
        table.add_column(self.text("metric"), no_wrap=True)
        names = ["value"] if len(results) == 1 else _words.labels(results, limit=24)
        for name in names:
            table.add_column(self.text(name), justify="right", min_width=8)
        table.add_column(self.text("meaning"), ratio=1)
        for family, members in _words.families(results).items():
            reason = _words.shared_reason(results, members)
            said = FAMILIES[family] + (f" (-: {_inside(reason)})" if reason else "")
            table.add_row(self.text(family, "bold cyan"), *[""] * len(results), self.text(said))
            for name in members if reason is None else ():
                values = [self.text(_words.metric(result, name), "bold") for result in results]
                table.add_row(self.text(name, "cyan"), *values, self.text(self.meaning(results, name), "dim"))
        return table

    def meaning(self, results: Sequence[Analysis], name: str) -> str:
        reasons = {_words.reason(result, name) for result in results if result.metrics[name] is None}
        return " ".join([MEANINGS[name], *(f"(-: {_inside(reason)})" for reason in sorted(reasons))])

    def layers(self, name: str, result: Analysis) -> Group:
        """The depth profile of one model, a line a layer."""
        table = self.table(header=True)
        for title, justify in _depth.COLUMNS.items():
            table.add_column(self.text(title), justify=justify, no_wrap=title != "layer")
        table.add_column(self.text("rich … lazy"), no_wrap=True)
        for layer, cells in zip(result.layers, _depth.rows(result), strict=True):
            table.add_row(*map(self.text, cells), self.rail(layer.metrics["d_lr"], _SHORTEST_SCALE))
        said = f"Layers of {name}, against the outputs of its head. {_depth.pooling(result)}"
        return Group(self.text(said), table)

    def warnings(self, results: Sequence[Analysis]) -> Table:
        """Every notice, under the name of its model when there are several."""
        table = self.table(header=False)
        for name, result in zip(_words.labels(results), results, strict=True):
            prefix = f"{name}: " if len(results) > 1 else ""
            for notice in result.notices:
                table.add_row(self.text("warning", "bold yellow"), self.text(f"{prefix}{notice.message}", "yellow"))
        return table


def _inside(sentence: str) -> str:
    """A sentence as it is written within brackets."""
    return sentence[0].lower() + sentence[1:].rstrip(".")
