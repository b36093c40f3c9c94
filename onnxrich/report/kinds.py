"""Kinds of results that every format renders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.track import Track

# One analysis, several analyses side by side, a comparison or a training.
Result: TypeAlias = Analysis | Sequence[Analysis] | Comparison | Track


def analyses_of(result: Result) -> list[Analysis]:
    """List the analyses of a result."""
    if isinstance(result, Analysis):
        return [result]
    return list(result.results if isinstance(result, Comparison | Track) else result)


def with_evaluations(analyses: Sequence[Analysis]) -> list[Analysis]:
    """List analyses, each followed by the analysis of its evaluation data."""
    pairs = [(analysis, analysis.evaluation) for analysis in analyses]
    return [member for pair in pairs for member in pair if member is not None]


def is_synthetic(analyses: Sequence[Analysis]) -> bool:
    """Tell whether the inputs of any analysis were random."""
    return any(analysis.record.data.synthetic for analysis in analyses)
