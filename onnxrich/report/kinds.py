"""Kinds of results that every format renders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from onnxrich.results.analysis import Results
from onnxrich.results.comparison import Compared
from onnxrich.results.track import Tracked

# One analysis, several analyses side by side, a comparison or a training.
Result: TypeAlias = Results | Sequence[Results] | Compared | Tracked


def analyses_of(result: Result) -> list[Results]:
    """List the analyses of a result."""
    if isinstance(result, Results):
        return [result]
    return list(result.results if isinstance(result, Compared | Tracked) else result)


def with_evaluations(analyses: Sequence[Results]) -> list[Results]:
    """List analyses, each followed by the analysis of its evaluation data."""
    pairs = [(analysis, analysis.evaluation) for analysis in analyses]
    return [member for pair in pairs for member in pair if member is not None]


def is_synthetic(analyses: Sequence[Results]) -> bool:
    """Tell whether the inputs of any analysis were random."""
    return any(analysis.record.data.synthetic for analysis in analyses)
