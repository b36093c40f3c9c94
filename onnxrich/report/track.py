"""A training as text, as a page, as a figure, and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from onnxrich.report import _steps, _words, files, terminal
from onnxrich.report import figure as figures
from onnxrich.report import html as pages
from onnxrich.report.comparison import signed
from onnxrich.results.analysis import Analysis
from onnxrich.results.track import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Checkpoints whose curves are drawn.
CURVES = 6
# Metrics that the table shows of each checkpoint.
SHOWN = ("d_lr", "accuracy", "utilized_variance", "effective_rank", "nc1")
# Characters of a file's name, where it stands for a step.
LONGEST_FILE = 24
# Cells of the line from rich to lazy.
RAIL = 11
# Names that are too long for a column of a terminal.
SHORT = {"utilized_variance": "utilized", "effective_rank": "eff. rank", "change": "change of d_lr"}


def render(tracked: Track, *, width: int | None = None, color: bool = False, ascii_only: bool = False) -> str:
    """A training as text for a terminal.

    Args:
        tracked: the training.
        width: columns to fill; 100 when left out.
        color: use ANSI colours.
        ascii_only: use no character beyond ASCII.
    """
    page, columns = terminal.Page(ascii_only), width or 100
    last = tracked.results[-1:]
    parts: list[RenderableType] = [
        page.text(summary(tracked), "bold"),
        _table(page, tracked, columns),
        page.facts(last),
    ]
    warnings = page.table(header=False)
    for message in _messages(tracked):
        warnings.add_row(page.text("warning", "bold yellow"), page.text(message, "yellow"))
    parts += [page.text(_words.NOT_PERFORMANCE, "dim"), warnings]
    return terminal.printed(page.marked(parts, tracked.results), columns, color=color)


def summary(tracked: Track) -> str:
    """The transitions, in words."""
    if len(tracked.results) < 2:
        return "A single checkpoint: there is no course to follow."
    names = called(tracked)
    found = [
        f"from {names[each.start]} to {names[each.stop]} ({signed(each.change).removesuffix(' *')})"
        for each in tracked.transitions
    ]
    if not found:
        return "D_LR falls nowhere by more than chance explains: no transition from lazy to rich is marked."
    return f"From lazy to rich: D_LR falls {', and '.join(found)}."


def called(tracked: Track) -> list[str]:
    """How the checkpoints are called: by their steps, or by their numbers and files where no steps are known."""
    word, steps = _steps_of(tracked)
    return [f"{word} {step}" for step in steps]


def _steps_of(tracked: Track) -> tuple[str, list[str]]:
    """What the steps are, and each of them as text."""
    steps = [f"{step:,}" for step in tracked.steps]
    if tracked.origin != "position":
        return "step", steps
    files = _words.labels(tracked.results, limit=LONGEST_FILE)
    return "checkpoint", [f"{step} ({file})" for step, file in zip(steps, files, strict=True)]


def html(tracked: Track) -> str:
    """A training as an HTML page. The same training gives the same page."""
    chosen, names = shown(tracked), called(tracked)
    document = {name: value for name, value in tracked.to_dict().items() if name != "analyses"}
    return pages.render(
        [tracked.results[number] for number in chosen],
        names=[names[number] for number in chosen],
        tracked=sections(tracked),
        documents={"track.json": document},
    )


def save(tracked: Track, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `report.html`, `figure.png`, `figure.svg`, `track.csv` and, last, `track.json`.

    Args:
        tracked: the training.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files: an earlier report goes, what else is there is left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    files.check(directory, force=force)
    contents = {
        "report.html": html(tracked).encode("utf-8"),
        "figure.png": figures.saved(figure(tracked), "png"),
        "figure.svg": figures.saved(figure(tracked), "svg"),
        "track.csv": tracked.to_csv().encode("utf-8", errors="backslashreplace"),
        "track.json": tracked.to_json().encode("utf-8", errors="backslashreplace"),
    }
    return files.write(directory, contents)


def sections(tracked: Track) -> dict[str, Any]:
    """What the page shows beside what it shows of some checkpoints."""
    names, rows = _cells(tracked)
    word, steps = _steps_of(tracked)
    several = f"{len(tracked.steps)} checkpoints" if len(tracked.steps) > 1 else "A checkpoint"
    return {
        "title": f"{several}, {word} {steps[0]} to {steps[-1]}",
        "said": f"{summary(tracked)} Shaded: what is marked so. Bars are 95 % intervals.",
        "panels": _steps.drawn(tracked, pages.look),
        "table": {"names": names, "rows": rows},
        "warnings": [{"code": notice.code, "message": notice.message} for notice in tracked.notices],
    }


def shown(tracked: Track) -> list[int]:
    """Numbers of the checkpoints whose curves are drawn: the first, the last, the ends of transitions, some between."""
    count = len(tracked.results)
    even = np.unique(np.linspace(0, count - 1, min(CURVES, count)).round().astype(int)).tolist()
    ends = [end for each in tracked.transitions for end in (each.start, each.stop)]
    chosen = list(dict.fromkeys([0, count - 1, *ends, *even]))[:CURVES]
    return sorted(chosen)


def figure(tracked: Track) -> Figure:
    """Metrics against the step, and below the curves of single eigenfunctions at several steps."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with figures.style():
        made = Figure(figsize=(11, 7.4), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        above, below = made.subplots(2, 3)
        panels = _steps.panels(tracked)[:3]
        for axes, panel in zip(above, panels, strict=False):
            _course(axes, panel, tracked)
        for axes in above[len(panels) :]:
            axes.set_axis_off()
        for axes, name in zip(below, ("quality", "utilization", "intensity"), strict=True):
            _evolution(axes, name, tracked)
        made.legend(*below[2].get_legend_handles_labels(), loc="outside lower center", ncols=CURVES)
        if any(result.record.data.synthetic for result in tracked.results):
            made.suptitle(_words.SYNTHETIC, color="#c00000", fontweight="bold")
    return made


def _course(axes: Axes, panel: _steps.Panel, tracked: Track) -> None:
    """One panel of metrics against the step."""
    at, logarithmic = _steps.positions(tracked.steps)
    axes.set_title(panel.title)
    axes.set_xlabel(_steps_of(tracked)[0])
    if logarithmic:
        axes.set_xscale("log")
        decades = 10.0 ** np.arange(np.ceil(np.log10(at[1])), np.floor(np.log10(at[-1])) + 1)
        start = [(at[0], "0")] if tracked.steps[0] == 0 else []
        ticks = [*start, *((step, f"{step:,.0f}") for step in decades)]
        axes.set_xticks([step for step, _ in ticks], [label for _, label in ticks])
    for each in tracked.transitions:
        axes.axvspan(at[each.start], at[each.stop], color="#0e8f86", alpha=0.14, linewidth=0)
    for index, series in enumerate(panel.series):
        color = figures.COLORS[index % len(figures.COLORS)]
        axes.plot(at, series.values, color=color, marker="o", markersize=3, linewidth=1.8, label=series.name)
        axes.vlines(at, series.low, series.high, color=color, linewidth=1)
    if panel.share:
        axes.set_ylim(-0.02, 1.04)
    else:
        axes.set_ylim(bottom=0)
    for text in axes.legend(fontsize=8).get_texts():
        text.set_parse_math(False)


def _evolution(axes: Axes, name: str, tracked: Track) -> None:
    """One kind of curve at several steps, from dark for the first to light for the last."""
    from matplotlib import colormaps

    chosen, names = shown(tracked), called(tracked)
    for place, number in enumerate(chosen):
        curves = tracked.results[number].curves
        values = curves.intensity if name == "intensity" else curves.individual(name)
        if values is None:
            continue
        color = colormaps["viridis"](0.9 * place / max(1, len(chosen) - 1))
        axes.plot(curves.k, values, color=color, linewidth=1.6, label=names[number])
    axes.set_title(name.capitalize() if name == "intensity" else f"{name.capitalize()} of each feature")
    axes.set_xlabel("rank k")
    axes.set_xscale("log")
    if name == "intensity":
        axes.set_yscale("log")


def _cells(tracked: Track) -> tuple[list[str], list[list[str]]]:
    """Names and rows of the table: step, metrics, change of D_LR, S_init, what is noted."""
    known = (name for name in SHOWN[1:] if any(result.metrics.get(name) is not None for result in tracked.results))
    metrics = [SHOWN[0], *known]
    s_init, noted = tracked.s_init, tracked.noted
    word, steps = _steps_of(tracked)
    names = [word, metrics[0], "change", *metrics[1:], *(["s_init"] if s_init else [])]
    names += [name.replace("_", " ") for name in noted]
    rows = []
    for number, result in enumerate(tracked.results):
        d_lr, *others = (_cell(result, name) for name in metrics)
        row = [steps[number], d_lr, signed(tracked.changes[number].get("d_lr")), *others]
        row += [] if s_init is None else [_alike(s_init[number])]
        rows.append(row + [_words.number(values[number]) for values in noted.values()])
    return names, rows


def _alike(estimate: Any) -> str:
    return "-" if estimate is None else f"{estimate.value:.4f}"


def _cell(result: Analysis, name: str) -> str:
    value = _words.value(name, result.metrics.get(name))
    return f"{value}{_words.spread(result, name)}" if name == "d_lr" and value != "-" else value


def _table(page: terminal.Page, tracked: Track, width: int) -> Table:
    """The table, without the columns that there is no room for: the last metrics first."""
    names, rows = _cells(tracked)
    columns = {
        name: [SHORT.get(name, name), *cells] for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    # The interval of D_LR stands with its change, where it is that of a pair.
    columns["d_lr"] = [cell.split(" ± ")[0] for cell in columns["d_lr"]]
    for name in reversed(names):
        if sum(3 + max(map(len, cells)) for cells in columns.values()) + RAIL <= width:
            break
        if name not in (names[0], "d_lr", "change"):
            del columns[name]
    table = page.table(header=True)
    for heading, *_ in columns.values():
        table.add_column(page.text(heading), justify="right", no_wrap=True)
    table.add_column(page.text("rich … lazy"), no_wrap=True)
    for number, result in enumerate(tracked.results, 1):
        cells = [page.text(column[number]) for column in columns.values()]
        table.add_row(*cells, page.rail(result.metrics["d_lr"], RAIL))
    return table


def _messages(tracked: Track) -> list[str]:
    """Every kind of warning once, with the checkpoints that it is of."""
    several: dict[str, list[tuple[str, str]]] = {}
    for name, result in zip(called(tracked), tracked.results, strict=True):
        for notice in result.notices:
            several.setdefault(notice.code, []).append((name, notice.message))
    told = []
    for (name, said), *others in several.values():
        more = f" and {len(others)} more" if others else ""
        told.append(f"{name}{more}: {said}")
    return [notice.message for notice in tracked.notices] + told
