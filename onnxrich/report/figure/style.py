"""Look of all figures: colours, dashes, matplotlib's settings, and image files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from onnxrich._utils.text import printable
from onnxrich.report import wording
from onnxrich.report.kinds import is_synthetic
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe & Ito's palette without its light colours, darkened where white needs it: safe for colour-blind readers.
COLORS = ("#0072B2", "#D55E00", "#00875F", "#B0478A", "#6A5ACD", "#7A6A00")
# All have one period, and each is shorter than the one that it is drawn over: curves that coincide show through.
_DASHES = ("-", *((0, (on, 12 - on)) for on in (8, 6, 4, 2, 0.5)))
_SETTINGS = {
    "axes.axisbelow": True, "axes.grid": True, "axes.labelcolor": "#333333", "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold",
    "figure.dpi": 100, "font.size": 9, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "legend.frameon": False,
    "lines.solid_capstyle": "round", "savefig.dpi": 160, "svg.hashsalt": "onnxrich",
}  # fmt: skip


@contextmanager
def settings() -> Iterator[None]:
    """Use matplotlib's defaults and ours, independent of the user's settings."""
    from matplotlib import style

    with style.context(["default", _SETTINGS]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure that fits its panels and legend; sizes are in inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def image(figure: Figure, format: Literal["png", "svg"]) -> bytes:
    """Save a figure as the bytes of an image file, without date and random identifiers."""
    target = io.BytesIO()
    with settings(), warnings.catch_warnings():
        # A model's name may have characters that the font lacks; the figure shows a box for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(target, format=format, metadata={"Date" if format == "svg" else "Software": None})
    return target.getvalue()


def look(index: int) -> dict[str, Any]:
    """Choose colour and dashes of a model; further models repeat the colours with other dashes."""
    dashes = _DASHES[(index + index // len(COLORS)) % len(_DASHES)]
    return {"color": COLORS[index % len(COLORS)], "linestyle": dashes}


def write_plainly(text: Text, words: str | None = None) -> None:
    """Let a text show its words, or others, as they are: "$" starts no formula, and nothing in them steers a reader."""
    text.set_parse_math(False)
    text.set_text(printable(text.get_text() if words is None else words))


def mark_synthetic(figure: Figure, analyses: Sequence[Analysis], panels: Sequence[Axes]) -> None:
    """Mark a figure and some of its panels when data are synthetic."""
    if not is_synthetic(analyses):
        return
    figure.suptitle(wording.SYNTHETIC, color="#c00000", fontweight="bold")
    for axes in panels:
        axes.text(
            0.5, 0.5, "SYNTHETIC\nDATA", transform=axes.transAxes, ha="center", va="center", rotation=24,
            fontsize=30, fontweight="bold", color="#c00000", alpha=0.2,
        )  # fmt: skip
