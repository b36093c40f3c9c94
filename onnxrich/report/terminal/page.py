"""Layout of a page of text: escaped words, tables, and the scale from rich to lazy."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxrich._utils.text import printable
from onnxrich.report import wording

_ASCII = str.maketrans(
    {
        "Σ": "sum ", "λ": "l", "²": "^2", "₁": "1", "→": "->", "·": "*", "−": "-", "≥": ">=", "≤": "<=", "…": "...",
        "–": "-", "±": "+/-", "∝": "~", "α": "alpha",
    }
)  # fmt: skip

# Marks on the scale by the kind of anchor, and in ASCII.
_MARKS = {"unshaped": ("┼", "+"), "initial": ("○", "x")}


class Page:
    """A page of some width. Every text goes through `text`, which admits neither markup nor control characters."""

    def __init__(self, width: int, *, color: bool, ascii_only: bool) -> None:
        self.width = width
        self._color = color
        self._ascii_only = ascii_only

    def text(self, words: str, style: str = "") -> Text:
        """Escape words and give them a style."""
        words = printable(words)
        if self._ascii_only:
            words = words.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return Text(words, style=style, overflow="fold")

    def table(self, *, header: bool) -> Table:
        """Start a table without lines but one below its header."""
        lines = None if self._ascii_only or not header else box.SIMPLE_HEAD
        return Table(box=lines, show_header=header, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))

    def scale(self, d_lr: float | None, cells: int, marks: Mapping[str, float]) -> Text:
        """Draw a line from `rich 0` to `lazy 1` with a marker at D_LR, and marks of what it is read against.

        Args:
            d_lr: the number; None where it is undefined.
            cells: length of the line.
            marks: D_LR of the anchors, by their kind.
        """
        rail = self.rail(d_lr, cells, marks)
        if d_lr is None:
            return Text.assemble("rich 0 ", rail, " lazy 1", style="dim")
        return Text.assemble(("rich 0 ", "cyan"), rail, (" lazy 1", "yellow"))

    def rail(self, d_lr: float | None, cells: int, marks: Mapping[str, float] = MappingProxyType({})) -> Text:
        """Draw a line with a marker at D_LR, which hides marks at the same place."""
        left, line, right, marker = "|-|o" if self._ascii_only else "├─┤●"
        rail = [left, *line * (cells - 2), right]
        if d_lr is None:
            return Text("".join(rail), "dim")
        for kind, value in marks.items():
            rail[round(value * (cells - 1))] = self._mark(kind)
        place = round(d_lr * (cells - 1))
        return Text.assemble("".join(rail[:place]), (marker, "bold magenta"), "".join(rail[place + 1 :]))

    def legend(self, labels: Mapping[str, str]) -> Text:
        """Say what the marks on the scale stand for, by their kind."""
        return self.text("   ".join(f"{self._mark(kind)} {label}" for kind, label in labels.items()), "dim")

    def _mark(self, kind: str) -> str:
        return _MARKS[kind][self._ascii_only]

    def warnings(self, messages: Iterable[str]) -> Table:
        """List warnings, one a line."""
        table = self.table(header=False)
        for message in messages:
            table.add_row(self.text("warning", "bold yellow"), self.text(message, "yellow"))
        return table

    def text_of(self, parts: Sequence[RenderableType], *, synthetic: bool) -> str:
        """Print parts one below the other, between two loud lines when data are synthetic."""
        loud = [self.text(f"!!! {wording.SYNTHETIC} !!!", "bold red reverse")] if synthetic else []
        console = Console(
            file=io.StringIO(), width=self.width, force_terminal=self._color,
            color_system="standard" if self._color else None, legacy_windows=False, force_jupyter=False,
            highlight=False, markup=False, emoji=False, _environ={},
        )  # fmt: skip
        with console.capture() as capture:
            for part in (*loud, *parts, *loud):
                console.print(Padding(part, (0, 0, 1, 0)))
        # Without colour the layout pads with blanks, which only get in the way of copying.
        lines = capture.get().rstrip().split("\n")
        return "\n".join(line if self._color else line.rstrip() for line in lines) + "\n"
