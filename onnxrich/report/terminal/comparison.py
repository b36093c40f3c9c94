"""A comparison as text: metrics with their differences to the first model, and CKA of each pair."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from onnxrich.report import wording
from onnxrich.report.terminal.analysis import facts, headline, sentences, warnings
from onnxrich.report.terminal.page import Page
from onnxrich.results.comparison import Comparison

# Up to this number of models differences have columns of their own; with more they stand below the values.
_SIDE_BY_SIDE = 3


def parts(page: Page, comparison: Comparison) -> list[RenderableType]:
    """Render a comparison."""
    analyses = comparison.results
    rendered: list[RenderableType] = [
        headline(page, analyses), sentences(page, analyses), facts(page, analyses), _metrics(page, comparison)
    ]  # fmt: skip
    if len(analyses) > 1:
        memory = f" Sums took {comparison.memory / 2**20:,.1f} MiB." if comparison.memory else ""
        rendered.append(page.text(f"{wording.DIFFERENCES}{memory}", "dim"))
        rendered += [_similarities(page, comparison)] if comparison.cka else []
    if comparison.notices:
        rendered.append(page.warnings(notice.message for notice in comparison.notices))
    return [*rendered, warnings(page, analyses)]


def _metrics(page: Page, comparison: Comparison) -> Table:
    """Tabulate every metric of every model, and the differences to the first."""
    table, analyses = page.table(header=True), comparison.results
    has_columns = len(analyses) <= _SIDE_BY_SIDE
    table.add_column(page.text("metric"), no_wrap=True)
    for number, name in enumerate(wording.labels(analyses, limit=24)):
        table.add_column(page.text(name), justify="right", min_width=8)
        if number and has_columns:
            table.add_column(page.text("difference"), justify="right")

    def add_row(name: str, values: list[str], differences: list[str]) -> None:
        first, *others = (page.text(value, "bold") for value in values)
        cells = [first]
        for value, difference in zip(others, map(page.text, differences[1:]), strict=True):
            cells += [value, difference] if has_columns else [Text("\n").join(filter(None, [value, difference]))]
        table.add_row(page.text(name, "cyan"), *cells)

    for name in analyses[0].metrics:
        values = [wording.metric_value(name, analysis.metrics.get(name)) for analysis in analyses]
        add_row(name, values, [wording.difference(estimates.get(name)) for estimates in comparison.differences])
    if comparison.s_init is not None:
        add_row("s_init", [wording.similarity(estimate) for estimate in comparison.s_init], [""] * len(analyses))
    return table


def _similarities(page: Page, comparison: Comparison) -> Table:
    """Tabulate the linear CKA of the features of each pair of models."""
    table, names = page.table(header=True), wording.labels(comparison.results, limit=24)
    table.add_column(page.text("CKA of features"), no_wrap=True)
    for name in names[1:]:
        table.add_column(page.text(name), justify="right")
    for row, name in enumerate(names[:-1]):
        cells = [
            wording.similarity(comparison.similarity(row, column)) if column > row else ""
            for column in range(1, len(names))
        ]
        table.add_row(page.text(name, "cyan"), *map(page.text, cells))
    return table
