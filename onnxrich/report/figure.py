"""Analysis as a figure: quality, utilization and intensity against rank."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnxrich.report import _words
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette without its light colours, darkened where white needs it: safe for colour-blind readers.
COLORS = ("#0072B2", "#D55E00", "#00875F", "#B0478A", "#6A5ACD", "#7A6A00")
# Of one period, each shorter than the one that it is drawn over: curves that coincide show through each other.
_DASHES = ("-", *((0, (on, 12 - on)) for on in (8, 6, 4, 2, 0.5)))
_STYLE = {
    "axes.axisbelow": True, "axes.grid": True, "axes.labelcolor": "#333333", "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold",
    "figure.dpi": 100, "font.size": 9, "grid.color": "#e4e4e4", "grid.linewidth": 0.6, "legend.frameon": False,
    "lines.solid_capstyle": "round", "savefig.dpi": 160, "svg.hashsalt": "onnxrich",
}  # fmt: skip


def figure(results: Sequence[Analysis]) -> Figure:
    """Quality and utilization (cumulative) and intensity against rank, all models in the same panels.

    A fourth shows D_LR by depth where hidden layers were measured.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    results = _words.series(results)

    with style():
        deep = any(result.layers for result in results)
        drawn = Figure(figsize=(14.5 if deep else 11, 4), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        quality, utilization, intensity, *depth = drawn.subplots(1, 4 if deep else 3)
        _cumulative(quality, results, "quality", "Quality", "share of the targets")
        _cumulative(utilization, results, "utilization", "Utilization", "share of the outputs")
        _intensity(intensity, results)
        if deep:
            _depth(depth[0], results)
        _legend(drawn, results)
        if any(result.record.data.synthetic for result in results):
            drawn.suptitle(_words.SYNTHETIC, color="#c00000", fontweight="bold")
            for axes in drawn.axes:
                _watermark(axes)
    return drawn


def render(results: Sequence[Analysis], format: Literal["png", "svg"]) -> bytes:
    """The figure as the bytes of an image file: the same bytes for the same results."""
    return saved(figure(results), format)


def saved(drawn: Figure, format: Literal["png", "svg"]) -> bytes:
    """A figure as the bytes of an image file."""
    target = io.BytesIO()
    with style(), warnings.catch_warnings():
        # A model's name may have characters that the font lacks; the figure shows a box for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        drawn.savefig(target, format=format, metadata={"Date" if format == "svg" else "Software": None})
    return target.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults and ours, whatever the user's own settings are."""
    from matplotlib import style as styles

    with styles.context(["default", _STYLE]):
        yield


def _look(index: int) -> tuple[str, Any]:
    """Colour and dashes; the colours of further models are repeated with other dashes."""
    return COLORS[index % len(COLORS)], _DASHES[(index + index // len(COLORS)) % len(_DASHES)]


def _axes(axes: Axes, title: str, label: str, results: Sequence[Analysis]) -> None:
    largest = max((len(result.curves.k) for result in results), default=1)
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel("rank k (the first k features)")
    axes.set_xscale("log")
    axes.set_xlim(0.92, max(largest, 2) * 1.08)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:.0f}" if largest < 10 else "")


def _cumulative(axes: Axes, results: Sequence[Analysis], name: str, title: str, label: str) -> None:
    _axes(axes, title, label, results)
    axes.set_ylim(-0.02, 1.04)
    empty = True
    for index, result in enumerate(results):
        color, dashes = _look(index)
        curve, variance = getattr(result.curves, name), getattr(result.curves, f"{name}_variance")
        if curve is None:
            continue
        empty = False
        marker = "o" if len(curve) == 1 else ""
        axes.plot(result.curves.k, curve, color=color, linestyle=dashes, linewidth=2, marker=marker)
        axes.plot(result.curves.k, variance, color=color, linestyle=":", linewidth=1.1, marker=marker)
    if empty:
        axes.text(0.5, 0.12, "no labels given", transform=axes.transAxes, ha="center", color="#666666", fontsize=12)


def _intensity(axes: Axes, results: Sequence[Analysis]) -> None:
    _axes(axes, "Intensity", "eigenvalue ρₖ / ρ₁", results)
    axes.set_yscale("log")
    for index, result in enumerate(results):
        color, dashes = _look(index)
        marker = "o" if len(result.curves.k) == 1 else ""
        axes.plot(result.curves.k, result.curves.intensity, color=color, linestyle=dashes, linewidth=2, marker=marker)


def _depth(axes: Axes, results: Sequence[Analysis]) -> None:
    """D_LR of each layer, with its interval."""
    axes.set_title("Richness by depth")
    axes.set_ylabel("D_LR: 0 rich, 1 lazy")
    axes.set_xlabel("layer")
    axes.set_ylim(-0.02, 1.04)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for index, result in enumerate(results):
        color, dashes = _look(index)
        values = [np.nan if layer.metrics["d_lr"] is None else layer.metrics["d_lr"] for layer in result.layers]
        places = range(1, len(values) + 1)
        axes.plot(places, values, color=color, linestyle=dashes, linewidth=2, marker="o", markersize=3)
        for at, layer in enumerate(result.layers, 1):
            if (ends := layer.intervals.get("d_lr")) is not None:
                axes.vlines(at, ends.low, ends.high, color=color)


def _watermark(axes: Axes) -> None:
    axes.text(
        0.5, 0.5, "SYNTHETIC\nDATA", transform=axes.transAxes, ha="center", va="center", rotation=24,
        fontsize=30, fontweight="bold", color="#c00000", alpha=0.2,
    )  # fmt: skip


def _legend(drawn: Figure, results: Sequence[Analysis]) -> None:
    from matplotlib.lines import Line2D

    names = _words.labels(results, limit=36)
    words = [f"{name}   D_LR = {_words.metric(result, 'd_lr')}" for name, result in zip(names, results, strict=True)]
    looks = [_look(index) for index in range(len(results))]
    handles = [Line2D([], [], linewidth=2, color=color, linestyle=dashes) for color, dashes in looks]
    words.append("dotted: variance instead of span")
    handles.append(Line2D([], [], linewidth=1.1, color="#666666", linestyle=":"))
    # A label that begins with "_" would be left out, and "$" would start a formula: set the texts afterwards.
    legend = drawn.legend(
        handles, [" "] * len(handles), loc="outside lower center", ncols=min(3, len(handles)), handlelength=2.4
    )
    for text, label in zip(legend.get_texts(), words, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
