"""Variables of the page of a comparison."""

from __future__ import annotations

from typing import Any

from onnxrich.report import wording
from onnxrich.report.html import analysis
from onnxrich.report.html.page import embed, warnings
from onnxrich.results.comparison import Comparison


def variables(comparison: Comparison) -> dict[str, Any]:
    """Give the variables of the template: those of the analyses, and the differences between them."""
    document = {name: value for name, value in comparison.to_dict().items() if name != "analyses"}
    return analysis.variables(comparison.results) | {
        "comparison": _differences(comparison),
        "warnings": warnings(comparison.notices),
        "documents": {"comparison.json": embed(document)},
    }


def _differences(comparison: Comparison) -> dict[str, Any]:
    first, numbers = comparison.results[0], range(len(comparison.results))
    names = [name for name in first.metrics if any(name in estimates for estimates in comparison.differences)]
    similarities = [[comparison.similarity(row, column) for column in numbers] for row in numbers]
    return {
        "note": wording.DIFFERENCES,
        "metrics": [
            {
                "name": name,
                "value": wording.metric_value(name, first.metrics.get(name)),
                "differences": [wording.difference(estimates.get(name)) for estimates in comparison.differences[1:]],
            }
            for name in names
        ],
        "cka": [[wording.similarity(estimate) for estimate in row] for row in similarities] if comparison.cka else [],
        "initial": comparison.initial,
    }
