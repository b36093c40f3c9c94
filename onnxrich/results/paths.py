"""Names of the files in a report, and the saved moments that a path stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onnxrich._utils.inside import check_inside
from onnxrich.errors import DataError

# The document of an analysis, the moments of all its rows, and those of other rows to evaluate on.
ANALYSIS, MOMENTS, EVALUATION = "analysis.json", "moments.npz", "evaluation.npz"


def inside(report: str | os.PathLike[str], name: str = MOMENTS) -> Path | None:
    """Find saved moments of that name in a report, given by its folder or its `analysis.json`; None without any.

    Raises:
        DataError: when they are a link out of the folder.
    """
    path = Path(report)
    folder = path.parent if path.name == ANALYSIS else path
    if not os.path.isfile(folder / name):  # noqa: PTH113 - unlike pathlib it answers for names that no file can have
        return None
    check_inside(folder.resolve(), folder / name, DataError)
    return folder / name


def moments_of(given: Any) -> Path | None:
    """Find the saved moments that stand for a model: their file, or that in a report; None for anything else."""
    if not isinstance(given, str | os.PathLike):
        return None
    path = Path(given)
    return inside(path) or (path if path.suffix.lower() == ".npz" else None)
