"""Analysis as one self-contained HTML page: no request, no script but its own, the exact numbers inside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from onnxrich.errors import printable
from onnxrich.metrics.registry import FAMILIES, MEANINGS
from onnxrich.report import _convergence, _depth, _svg, _words
from onnxrich.results.analysis import CHOICES, Analysis

# Title and meaning of the panels, in their order.
PANELS = {
    "quality": ("Quality", "How much of the targets the features hold"),
    "utilization": ("Utilization", "How much of the outputs the features hold"),
    "intensity": ("Intensity", "How large the features are: eigenvalues ρₖ/ρ₁"),
}
# So many colours has the page, and so many kinds of dashes; further models repeat the colours with other dashes.
COLORS = 6


def render(
    results: Sequence[Analysis],
    *,
    names: Sequence[str] | None = None,
    tracked: Mapping[str, Any] | None = None,
    compared: Mapping[str, Any] | None = None,
    documents: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Analysis as an HTML page. The same results give the same page.

    Args:
        results: one or several analyses; their curves share the panels.
        names: what to call them; the names of their files when left out.
        tracked: what their training did, from `report.track.sections`.
        compared: what a comparison says of them beside, from `report.comparison.sections`.
        documents: further documents to be downloaded, by the names of their files.
    """
    results = _words.series(results)
    named = list(zip(names or _words.labels(results), results, strict=True))
    script, style = (_file(name) for name in ("report.js", "report.css"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_file("template.html")).render(
        script=script,
        style=style,
        policy=_policy(script, style),
        models=[_model(index, name, result) for index, (name, result) in enumerate(named)],
        synthetic=_words.SYNTHETIC if any(result.record.data.synthetic for result in results) else "",
        not_performance=_words.NOT_PERFORMANCE,
        panels=[_panel(panel, results) for panel in _svg.panels(results)],
        frame={name.lower(): getattr(_svg, name) for name in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM")},
        k=_first_k(results),
        k_max=_last_k(results),
        families=[_family(results, family, names) for family, names in _words.families(results).items()],
        convergence=_sure(named),
        depth=_depth_panels(results),
        profiles=[_profile(name, result) for name, result in _depth.named(results)],
        profile_columns=list(_depth.COLUMNS),
        facts=_facts(results),
        choices=CHOICES,
        compared=compared,
        tracked=tracked,
        documents={name: embed(document) for name, document in (documents or {}).items()},
    )
    return page + "\n"


def framed(page: str) -> str:
    """A page for a notebook, in a frame that keeps its style and script apart from the notebook's."""
    source = escape(page, quote=True)
    return f'<iframe srcdoc="{source}" title="onnxrich report" width="100%" height="900" frameborder="0"></iframe>'


def _file(name: str) -> str:
    return resources.files("onnxrich.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(script: str, style: str) -> str:
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def look(index: int) -> str:
    return f"s{index % COLORS} d{(index + index // COLORS) % COLORS}"


def _model(index: int, name: str, result: Analysis) -> dict[str, Any]:
    place, meaning = _words.verdict(result)
    return {
        "name": name,
        "look": look(index),
        "number": _words.richness(result.metrics["d_lr"]),
        "spread": _words.spread(result, "d_lr"),
        "d_lr": result.metrics["d_lr"],
        "place": place,
        "meaning": meaning,
        "warnings": [{"code": notice.code, "message": printable(notice.message)} for notice in result.notices],
        "json": embed(result.to_dict()),
    }


def embed(document: Mapping[str, Any]) -> str:
    """The document as JSON that can't end the script block that holds it, whatever its names contain."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _panel(panel: _svg.Panel, results: Sequence[Analysis]) -> dict[str, Any]:
    title, meaning = PANELS[panel.name]
    # For the script, to place a value: [low, high, logarithmic] of each scale.
    scales = {mode: [scale.low, scale.high, scale.log] for mode, scale in panel.y.items()}
    k = _first_k(results)
    curves = [getattr(result.curves, panel.name) for result in results]
    return {
        "name": panel.name,
        "title": title,
        "meaning": meaning,
        "scales": json.dumps(scales),
        "x_ticks": panel.x.ticks(),
        "y_ticks": {mode: scale.ticks() for mode, scale in panel.y.items()},
        "lines": [{"look": look(line.series), "variant": line.variant, "path": line.path} for line in panel.lines],
        "values": [_value(curve, k) for curve in curves],
        "empty": "no labels given" if panel.name == "quality" and all(curve is None for curve in curves) else "",
    }


def _value(curve: Any, k: int) -> str:
    return "-" if curve is None or not 1 <= k <= len(curve) else f"{curve[k - 1]:.4g}"


def _first_k(results: Sequence[Analysis]) -> int:
    """The rank that the page opens with: a rich model's curves are through at the number of its outputs."""
    return max(1, min(max(result.record.head.C for result in results), _last_k(results)))


def _last_k(results: Sequence[Analysis]) -> int:
    return max(len(result.curves.k) for result in results)


def _family(results: Sequence[Analysis], family: str, names: Sequence[str]) -> dict[str, Any]:
    reason = _words.shared_reason(results, names)
    metrics = [] if reason else [_metric(results, name) for name in names]
    return {"name": family, "meaning": FAMILIES[family], "reason": reason or "", "metrics": metrics}


def _sure(named: Sequence[tuple[str, Analysis]]) -> dict[str, Any] | None:
    """D_LR against rows, and what it says, of the models that have it."""
    panel = _convergence.panel([result for _, result in named])
    if panel is None:
        return None
    said = [(name, printable(result.uncertainty.summary)) for name, result in named if result.uncertainty is not None]
    return {
        "said": said,
        "x_ticks": panel.x.ticks(),
        "y_ticks": panel.y["always"].ticks(),
        "lines": [{"look": look(line.series), "variant": line.variant, "path": line.path} for line in panel.lines],
    }


def _depth_panels(results: Sequence[Analysis]) -> list[dict[str, Any]]:
    return [
        {
            "title": _depth.PANELS[panel.name][0],
            "x_ticks": _depth.ticks(panel.x),
            "y_ticks": panel.y["always"].ticks(),
            "lines": [{"look": look(line.series), "variant": line.variant, "path": line.path} for line in panel.lines],
        }
        for panel in _depth.panels(results)
    ]


def _profile(name: str, result: Analysis) -> dict[str, Any]:
    titles = [printable(f"{layer.name} ({layer.operator})") for layer in result.layers]
    return {
        "name": name,
        "pooling": _depth.pooling(result),
        "rows": list(zip(titles, _depth.rows(result), strict=True)),
    }


def _metric(results: Sequence[Analysis], name: str) -> dict[str, Any]:
    reasons = {_words.reason(result, name) for result in results if result.metrics[name] is None}
    return {
        "name": name,
        "values": [_words.metric(result, name) for result in results],
        "meaning": MEANINGS[name],
        "reasons": sorted(reasons),
    }


def _facts(results: Sequence[Analysis]) -> dict[str, list[str]]:
    columns = [_words.facts(result) for result in results]
    rows = {name: [column[name] for column in columns] for name in columns[0]}
    return rows | {"sha256": [printable(result.record.model.sha256) for result in results]}
