"""Analyses as text: the number, its meaning, its origin, and all metrics, with models side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxrich.metrics.registry import FAMILIES, MEANINGS
from onnxrich.report import layers, wording
from onnxrich.report.kinds import with_evaluations
from onnxrich.report.terminal.page import Page
from onnxrich.report.verdict import scale_note, ticks, verdict
from onnxrich.results.analysis import Analysis

# Fewest and most cells of the scale of a model, and those of the scale of a layer.
_SHORT_SCALE, _LONG_SCALE, _LAYER_SCALE = 21, 61, 13


def parts(page: Page, analyses: Sequence[Analysis]) -> list[RenderableType]:
    """Render one or several analyses."""
    analyses = with_evaluations(analyses)
    profiles = [
        _layers(page, name, analysis)
        for name, analysis in zip(wording.labels(analyses), analyses, strict=True)
        if analysis.layers
    ]
    return [
        headline(page, analyses), sentences(page, analyses), facts(page, analyses), _metrics(page, analyses),
        *profiles, warnings(page, analyses),
    ]  # fmt: skip


def headline(page: Page, analyses: Sequence[Analysis]) -> Table:
    """Place D_LR of each model on the scale from rich to lazy."""
    names = wording.labels(analyses, limit=24)
    table = page.table(header=False)
    cells = page.width - max(map(cell_len, names)) - len("  D_LR 0.0000  rich 0    lazy 1")
    for name, analysis in zip(names, analyses, strict=True):
        d_lr = analysis.metrics["d_lr"]
        marks: dict[str, float] = {tick.kind: tick.value for tick in ticks(analysis)}
        scale = page.scale(d_lr, max(_SHORT_SCALE, min(_LONG_SCALE, cells)), marks)
        table.add_row(page.text(name, "bold"), page.text(f"D_LR {wording.richness(d_lr)}", "bold"), scale)
    for column in table.columns[1:]:
        column.no_wrap = True
    return table


def sentences(page: Page, analyses: Sequence[Analysis]) -> Text:
    """Say what the numbers mean, and how well they are known."""
    lines = []
    for name, analysis in zip(wording.labels(analyses), analyses, strict=True):
        said = verdict(analysis)
        place = f"{said.place[0].upper()}{said.place[1:]}"
        lines.append(f"{name}: {said.place}. {said.meaning}" if len(analyses) > 1 else f"{place}. {said.meaning}")
        lines.append(wording.certainty(analysis))
    body = Text("\n").join([page.text(line) for line in [*lines, scale_note(analyses)] if line])
    legend = [page.legend(_kinds(analyses))] if _kinds(analyses) else []
    return Text("\n").join([*legend, body, page.text(wording.NOT_PERFORMANCE, "dim")])


def _kinds(analyses: Sequence[Analysis]) -> dict[str, str]:
    """What the marks on the scales stand for, by their kind: with its number, or without where models differ."""
    labels: dict[str, list[str]] = {}
    for analysis in analyses:
        for tick in ticks(analysis):
            labels.setdefault(tick.kind, []).append(tick.label)
    return {kind: found[0] if len(set(found)) == 1 else found[0].split(":")[0] for kind, found in labels.items()}


def facts(page: Page, analyses: Sequence[Analysis]) -> Table:
    """Tabulate model, head, data and runtime; what all models share stands once."""
    table = page.table(header=False)
    columns = [wording.facts(analysis) for analysis in analyses]
    for name in columns[0]:
        values = [column[name] for column in columns]
        if len(values) > 1 and len(set(values)) == 1:
            values[1:] = ["same"] * (len(values) - 1)
        table.add_row(page.text(name, "cyan"), *map(page.text, values))
    for column in table.columns[1:]:
        column.ratio = 1
    return table


def warnings(page: Page, analyses: Sequence[Analysis]) -> Table:
    """List every notice, after the name of its model when there are several."""
    named = zip(wording.labels(analyses), analyses, strict=True)
    prefixed = [(f"{name}: " if len(analyses) > 1 else "", analysis) for name, analysis in named]
    return page.warnings(f"{prefix}{notice.message}" for prefix, analysis in prefixed for notice in analysis.notices)


def _metrics(page: Page, analyses: Sequence[Analysis]) -> Table:
    """Tabulate every metric with its meaning, or with the reason why it is undefined."""
    table = page.table(header=True)
    table.add_column(page.text("metric"), no_wrap=True)
    for name in ["value"] if len(analyses) == 1 else wording.labels(analyses, limit=24):
        table.add_column(page.text(name), justify="right", min_width=8)
    table.add_column(page.text("meaning"), ratio=1)
    for family, names in wording.families(analyses).items():
        reason = wording.shared_reason(analyses, names)
        meaning = FAMILIES[family] + (f" (-: {_uncapitalize(reason)})" if reason else "")
        table.add_row(page.text(family, "bold cyan"), *[""] * len(analyses), page.text(meaning))
        for name in names if reason is None else ():
            values = [page.text(wording.metric(analysis, name), "bold") for analysis in analyses]
            table.add_row(page.text(name, "cyan"), *values, page.text(_meaning(analyses, name), "dim"))
    return table


def _meaning(analyses: Sequence[Analysis], name: str) -> str:
    undefined = [analysis for analysis in analyses if analysis.metrics[name] is None]
    reasons = {wording.undefined_reason(analysis, name) for analysis in undefined}
    return " ".join([MEANINGS[name], *(f"(-: {_uncapitalize(reason)})" for reason in sorted(reasons))])


def _uncapitalize(sentence: str) -> str:
    """Turn a sentence into a clause for brackets."""
    return sentence[0].lower() + sentence[1:].rstrip(".")


def _layers(page: Page, name: str, analysis: Analysis) -> Group:
    """Tabulate the depth profile of one model, a line a layer."""
    table = page.table(header=True)
    for title, justify in layers.COLUMNS.items():
        table.add_column(page.text(title), justify=justify, no_wrap=title != "layer")
    table.add_column(page.text("rich … lazy"), no_wrap=True)
    for layer, cells in zip(analysis.layers, layers.rows(analysis), strict=True):
        table.add_row(*map(page.text, cells), page.rail(layer.metrics["d_lr"], _LAYER_SCALE))
    caption = f"Layers of {name}, against the outputs of its head. {layers.pooling(analysis)}"
    return Group(page.text(caption), table)
