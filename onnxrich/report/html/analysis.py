"""Variables of the page of one or several analyses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from onnxrich.metrics.registry import FAMILIES, MEANINGS
from onnxrich.report import layers, wording
from onnxrich.report.html.page import embed, warnings
from onnxrich.report.html.panels import convergence_panel, curve_panels, depth_panels
from onnxrich.report.html.svg import Panel, look
from onnxrich.report.kinds import is_synthetic, with_evaluations
from onnxrich.report.verdict import Tick, scale_note, ticks, verdict
from onnxrich.results.analysis import CHOICES, Analysis


def variables(analyses: Sequence[Analysis], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Give the variables of the template.

    Args:
        analyses: their curves share the panels.
        names: what to call them; by default the names of their files.
    """
    analyses = with_evaluations(analyses)
    names = names or wording.labels(analyses)
    named = list(zip(names, analyses, strict=True))
    certainties = [(name, wording.certainty(each)) for name, each in named if each.uncertainty is not None]
    return {
        "title": f"D_LR of {', '.join(names)}",
        "heading": f"{len(names)} models" if len(names) > 3 else " · ".join(names),
        "models": [_model(index, name, analysis) for index, (name, analysis) in enumerate(named)],
        "marks": _marks(analyses),
        "scale_note": scale_note(analyses),
        "synthetic": wording.SYNTHETIC if is_synthetic(analyses) else "",
        "curves": [_curve(name, panel, analyses) for name, panel in curve_panels(analyses).items()],
        "k": _opening_rank(analyses),
        "k_max": _last_rank(analyses),
        "families": [_family(analyses, family, metrics) for family, metrics in wording.families(analyses).items()],
        "convergence": convergence_panel(analyses),
        "certainties": [(name, text) for name, text in certainties if text],
        "depth": depth_panels(analyses),
        "profiles": [_profile(name, analysis) for name, analysis in named if analysis.layers],
        "profile_columns": list(layers.COLUMNS),
        "facts": _facts(analyses),
        "choices": CHOICES,
        "warnings": [],
        "comparison": None,
        "track": None,
        "documents": {},
    }


def _model(index: int, name: str, analysis: Analysis) -> dict[str, Any]:
    said = verdict(analysis)
    return {
        "name": name,
        "look": look(index),
        "number": wording.richness(analysis.metrics["d_lr"]),
        "spread": wording.spread(analysis, "d_lr"),
        "d_lr": analysis.metrics["d_lr"],
        "place": said.place,
        "meaning": said.meaning,
        "warnings": warnings(analysis.notices),
        "json": embed(analysis.to_dict()),
    }


def _marks(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """Describe the marks on the scale; one that models share stands once, in no model's colour."""
    by_tick: dict[Tick, list[int]] = {}
    for index, analysis in enumerate(analyses):
        for tick in ticks(analysis):
            by_tick.setdefault(tick, []).append(index)
    kinds = [tick.kind for tick in by_tick]
    marks = []
    for number, (tick, models) in enumerate(by_tick.items()):
        # Labels of one kind stand in one line. Where there are several, the first says what they are; the verdicts have
        # the numbers.
        label = tick.label if kinds.count(tick.kind) == 1 else tick.label.split(":")[0]
        marks.append(
            {
                "tick": tick,
                "look": look(models[0]) if len(models) < len(analyses) else "",
                "anchor": "start" if tick.value < 0.4 else "end" if tick.value > 0.6 else "middle",
                "label": label if kinds.index(tick.kind) == number else "",
            }
        )
    return marks


def _curve(name: str, panel: Panel, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Describe a panel of curves, with what the script needs to read them at a rank."""
    scales = {mode: [scale.low, scale.high, scale.log] for mode, scale in panel.y.items()}
    curves = [getattr(analysis.curves, name) for analysis in analyses]
    return {
        "name": name,
        "panel": panel,
        "scales": json.dumps(scales),
        "readings": [_reading(curve, _opening_rank(analyses)) for curve in curves],
        "empty": "no labels given" if name == "quality" and all(curve is None for curve in curves) else "",
    }


def _reading(curve: Any, k: int) -> str:
    return "-" if curve is None or not 1 <= k <= len(curve) else f"{curve[k - 1]:.4g}"


def _opening_rank(analyses: Sequence[Analysis]) -> int:
    """Choose the rank that the page opens with: the number of outputs, where a rich model's utilization is complete."""
    return max(1, min(max(analysis.record.head.C for analysis in analyses), _last_rank(analyses)))


def _last_rank(analyses: Sequence[Analysis]) -> int:
    return max(len(analysis.curves.k) for analysis in analyses)


def _family(analyses: Sequence[Analysis], family: str, names: Sequence[str]) -> dict[str, Any]:
    reason = wording.shared_reason(analyses, names)
    metrics = [] if reason else [_metric(analyses, name) for name in names]
    return {"name": family, "meaning": FAMILIES[family], "reason": reason or "", "metrics": metrics}


def _metric(analyses: Sequence[Analysis], name: str) -> dict[str, Any]:
    undefined = [analysis for analysis in analyses if analysis.metrics[name] is None]
    return {
        "name": name,
        "values": [wording.metric(analysis, name) for analysis in analyses],
        "meaning": MEANINGS[name],
        "reasons": sorted({wording.undefined_reason(analysis, name) for analysis in undefined}),
    }


def _profile(name: str, analysis: Analysis) -> dict[str, Any]:
    titles = [f"{layer.name} ({layer.operator})" for layer in analysis.layers]
    return {
        "name": name,
        "pooling": layers.pooling(analysis),
        "rows": list(zip(titles, layers.rows(analysis), strict=True)),
    }


def _facts(analyses: Sequence[Analysis]) -> dict[str, list[str]]:
    columns = [wording.facts(analysis) for analysis in analyses]
    rows = {name: [column[name] for column in columns] for name in columns[0]}
    models = [analysis.record.model for analysis in analyses]
    return rows | {
        "sha256": [model.sha256 for model in models],
        "sha256 of the weights": [model.weights_sha256 or "not recorded" for model in models],
    }
