"""The numbers of a result as files: JSON documents, saved moments and CSV."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from onnxrich.report.kinds import Result, analyses_of
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.paths import ANALYSIS, EVALUATION, MOMENTS
from onnxrich.results.track import Track

# Names that no model's folder may have: files beside it have them.
_RESERVED = ("report.html", "figure.png", "figure.svg", "comparison.json")


def files(result: Result) -> dict[str, bytes]:
    """Give the data files of a result, as bytes by file name.

    One analysis has its files at the top; several analyses have a folder each. A training has a table and no moments.
    """
    analyses = analyses_of(result)
    if isinstance(result, Track):
        return {"track.csv": result.to_csv().encode(), "track.json": result.to_json().encode()}
    if isinstance(result, Comparison):
        return {**_folders(analyses), "comparison.json": result.to_json().encode()}
    return _analysis(analyses[0]) if len(analyses) == 1 else _folders(analyses)


def folder_names(analyses: Sequence[Analysis]) -> list[str]:
    """Name a folder for each model: its file's stem in safe characters, numbered where names repeat."""
    names: list[str] = []
    for analysis in analyses:
        stem = Path(re.split(r"[\\/]", analysis.record.model.path)[-1]).stem
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:60] or "model"
        name, number = safe, 2
        # Some file systems don't tell upper from lower case.
        while name.lower() in {*_RESERVED, *(earlier.lower() for earlier in names)}:
            name, number = f"{safe}-{number}", number + 1
        names.append(name)
    return names


def _folders(analyses: Sequence[Analysis]) -> dict[str, bytes]:
    return {
        f"{folder}/{name}": content
        for folder, analysis in zip(folder_names(analyses), analyses, strict=True)
        for name, content in _analysis(analysis).items()
    }


def _analysis(analysis: Analysis) -> dict[str, bytes]:
    moments = {MOMENTS: _moments(analysis)}
    if analysis.evaluation is not None:
        moments[EVALUATION] = _moments(analysis.evaluation)
    return {**moments, ANALYSIS: analysis.to_json().encode()}


def _moments(analysis: Analysis) -> bytes:
    file = io.BytesIO()
    analysis.moments.save(file, analysis.record.to_dict())
    return file.getvalue()
