"""A comparison of models as text, as a page, and as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from onnxrich.report import _words, files, terminal
from onnxrich.report import html as pages
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Estimate

# Models whose differences have columns of their own in the table; those of more stand below their values.
SIDE_BY_SIDE = 3
CLEAR = "Differences are to the first model, with half their 95 % interval; * marks those that leave out 0."


def render(compared: Comparison, *, width: int | None = None, color: bool = False, ascii_only: bool = False) -> str:
    """A comparison as text for a terminal.

    Args:
        compared: the comparison.
        width: columns to fill; 100 when left out.
        color: use ANSI colours.
        ascii_only: use no character beyond ASCII.
    """
    page, columns, results = terminal.Page(ascii_only), width or 100, compared.results
    parts = [page.headline(results, columns), page.sentences(results), page.facts(results), _table(page, compared)]
    if len(results) > 1:
        parts += [page.text(f"{CLEAR}{_memory(compared)}", "dim"), *([_matrix(page, compared)] if compared.cka else [])]
    parts += [*([_notices(page, compared)] if compared.notices else []), page.warnings(results)]
    return terminal.printed(page.marked(parts, results), columns, color=color)


def html(compared: Comparison) -> str:
    """A comparison as an HTML page. The same comparison gives the same page."""
    document = {name: value for name, value in compared.to_dict().items() if name != "analyses"}
    return pages.render(compared.results, compared=sections(compared), documents={"comparison.json": document})


def save(compared: Comparison, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `report.html`, `figure.png` and `figure.svg`, a folder a model, and, last, `comparison.json`.

    Args:
        compared: the comparison.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files: an earlier report goes, what else is there is left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    files.check(directory, force=force)
    contents = files.views(compared.results) | {"report.html": html(compared).encode()}
    contents |= files.documents(compared.results)
    contents["comparison.json"] = compared.to_json().encode("utf-8", errors="backslashreplace")
    return files.write(directory, contents)


def sections(compared: Comparison) -> dict[str, Any]:
    """What the page shows beside what it shows of each model."""
    results = compared.results
    names = [name for name in results[0].metrics if any(name in model for model in compared.differences)]
    return {
        "said": CLEAR,
        "metrics": [{"name": name, "values": _row(compared, name)} for name in names],
        "cka": [[_similarity(compared, a, b) for b in range(len(results))] for a in range(len(results))],
        "known": bool(compared.cka),
        "s_init": None if compared.s_init is None else [_estimate(each) for each in compared.s_init],
        "initial": compared.initial,
        "warnings": [{"code": notice.code, "message": notice.message} for notice in compared.notices],
    }


def _row(compared: Comparison, name: str) -> list[dict[str, Any]]:
    return [
        {"value": _words.value(name, result.metrics.get(name)), "difference": signed(model.get(name))}
        for result, model in zip(compared.results, compared.differences, strict=True)
    ]


def signed(estimate: Estimate | None) -> str:
    """A difference with its sign, half its interval, and a star when that leaves out 0."""
    if estimate is None:
        return ""
    ends = estimate.interval
    spread = "" if ends is None else f" ± {ends.half:.2g}"
    return f"{estimate.value:+.3g}{spread}{' *' if estimate.clear else ''}".replace("-", "−", 1)


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.value == 1:
        return "1"
    return f"{estimate.value:.4f}" + ("" if estimate.interval is None else f" ± {estimate.interval.half:.2g}")


def _similarity(compared: Comparison, a: int, b: int) -> str:
    return _estimate(compared.similarity(a, b))


def _table(page: terminal.Page, compared: Comparison) -> Table:
    """Every metric of every model, and the differences to the first."""
    table, results = page.table(header=True), compared.results
    apart = len(results) <= SIDE_BY_SIDE
    table.add_column(page.text("metric"), no_wrap=True)
    for number, name in enumerate(_words.labels(results, limit=24)):
        table.add_column(page.text(name), justify="right", min_width=8)
        if number and apart:
            table.add_column(page.text("difference"), justify="right")
    for name in results[0].metrics:
        cells: list[Text] = []
        for number, cell in enumerate(_row(compared, name)):
            value, change = page.text(cell["value"], "bold"), page.text(cell["difference"])
            if not number:
                cells.append(value)
            else:
                cells += [value, change] if apart else [Text("\n").join([value, change])]
        table.add_row(page.text(name, "cyan"), *cells)
    if compared.s_init is not None:
        each = [[page.text(_estimate(s), "bold"), *([page.text("")] if apart else [])] for s in compared.s_init]
        table.add_row(page.text("s_init", "cyan"), each[0][0], *(cell for cells in each[1:] for cell in cells))
    return table


def _matrix(page: terminal.Page, compared: Comparison) -> Table:
    """Linear CKA of the features of each two models."""
    table, names = page.table(header=True), _words.labels(compared.results, limit=24)
    table.add_column(page.text("CKA of features"), no_wrap=True)
    for name in names[1:]:
        table.add_column(page.text(name), justify="right")
    for a, name in enumerate(names[:-1]):
        row = [_similarity(compared, a, b) if b > a else "" for b in range(1, len(names))]
        table.add_row(page.text(name, "cyan"), *(page.text(cell) for cell in row))
    return table


def _memory(compared: Comparison) -> str:
    return f" Sums took {compared.memory / 2**20:,.1f} MiB." if compared.memory else ""


def _notices(page: terminal.Page, compared: Comparison) -> Table:
    table = page.table(header=False)
    for notice in compared.notices:
        table.add_row(page.text("warning", "bold yellow"), page.text(notice.message, "yellow"))
    return table
