"""Moments on the disk: what their files are called in the folder of a report, and which paths stand for some."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Of all rows, and of other rows to evaluate on.
MOMENTS, EVALUATION = "moments.npz", "evaluation.npz"


def inside(folder: str | os.PathLike[str], name: str = MOMENTS) -> Path | None:
    """The saved moments of that name in a folder; None where it is none, or holds none."""
    file = Path(folder, name)
    return file if os.path.isfile(file) else None  # noqa: PTH113 - unlike pathlib it answers for names that no file can have


def moments_of(given: Any) -> Path | None:
    """The saved moments that a model is given by: their file, or that in the folder of a report; None of others."""
    if not isinstance(given, str | os.PathLike):
        return None
    path = Path(given)
    return inside(path) or (path if path.suffix.lower() == ".npz" else None)
