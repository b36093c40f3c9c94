"""The depth profile of a model as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from onnxrich._utils.text import display
from onnxrich.report import wording
from onnxrich.results.analysis import Analysis
from onnxrich.results.layer import Layer

# Titles and alignments of the columns: number, name, and the metrics.
COLUMNS: Mapping[str, Literal["left", "right"]] = {
    "": "right", "layer": "left", "p": "right", "D_LR": "right", "utilized": "right", "eff. rank": "right",
    "PR": "right",
}  # fmt: skip
_LONGEST_NAME = 32


def rows(analysis: Analysis) -> list[list[str]]:
    """Format each layer as a row of cells, one for each of `COLUMNS`."""
    return [[str(number), *_cells(layer)] for number, layer in enumerate(analysis.layers, 1)]


def pooling(analysis: Analysis) -> str:
    """Say how the rows of each layer are pooled, in one sentence."""
    numbers: dict[str, list[int]] = {}
    for number, layer in enumerate(analysis.layers, 1):
        numbers.setdefault(layer.rows, []).append(number)
    return "Rows: " + "; ".join(f"{kind} ({_ranges(layers)})" for kind, layers in numbers.items()) + "."


def _ranges(numbers: Sequence[int]) -> str:
    """Format ascending numbers with runs drawn together, such as 1–3, 5."""
    starts = [number for number in numbers if number - 1 not in numbers]
    stops = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, stops, strict=True)
    return ", ".join(str(start) if start == stop else f"{start}–{stop}" for start, stop in pairs)


def _cells(layer: Layer) -> list[str]:
    d_lr, interval = layer.metrics["d_lr"], layer.intervals.get("d_lr")
    spread = "" if interval is None else f" ± {interval.half_width:.2g}"
    others = ("utilized_variance", "effective_rank", "participation_ratio")
    return [
        display(layer.scope or layer.name, _LONGEST_NAME), f"{layer.p:,}",
        wording.richness(d_lr) + spread, *(wording.number(layer.metrics[name]) for name in others),
    ]  # fmt: skip
