"""The document of a saved analysis, `analysis.json`, against the moments beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich._utils.parsing import LARGEST, parse_json
from onnxrich.errors import DataError, Notice
from onnxrich.metrics.registry import METRICS, Metrics
from onnxrich.results.analysis import SCHEMA
from onnxrich.results.paths import ANALYSIS

# What a document says word for word as the record that is saved with the moments.
RECORDED = ("model", "head", "data", "runtime", "uncertainty", "layers")

# Differences of numbers that another processor makes, relative and absolute.
ROUNDING = 1e-6

REMEDY = "Pass the moments.npz itself, which needs no analysis.json, or move that file away."


def document_beside(given: str | os.PathLike[str]) -> Path | None:
    """Find the document of a report, given by its folder or by the document itself; None without one."""
    path = Path(given)
    file = path if path.name == ANALYSIS else path / ANALYSIS
    return file if os.path.lexists(file) else None


def read_document(path: Path) -> dict[str, Any]:
    """Read the document of an analysis; nothing of it is shown, for all numbers follow from the moments.

    Raises:
        DataError: when it is missing, damaged, longer than any, or of another schema.
    """
    with open_regular(path, DataError, "a report's analysis.json") as file:
        content = file.read(LARGEST + 1)
    try:
        document = parse_json(content)
        evaluation = document["evaluation"]
        if document["schema"] != SCHEMA or not isinstance(evaluation, dict | None):
            raise ValueError(f"no document of schema {SCHEMA}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged or no document of an analysis", f"JSON of schema {SCHEMA}", REMEDY
        ) from error
    return document  # type: ignore[no-any-return]


def check_document(document: Mapping[str, Any], record: Mapping[str, Any], metrics: Metrics) -> tuple[Notice, ...]:
    """Compare a document with what its moments give.

    Args:
        document: the document, or that of the data to evaluate on.
        record: the record as it was saved with the moments.
        metrics: the metrics as they are computed from the moments.

    Returns:
        A notice where numbers differ by more than rounding: the document was edited, or its version computed them
        otherwise.

    Raises:
        DataError: when it says other things than the record, which was written with it.
    """
    for part in RECORDED:
        # Version 0.1.0 wrote both alike as well; a part that one of them does not have says nothing.
        if part in document and part in record and document[part] != record[part]:
            raise DataError(
                f"{ANALYSIS} and the moments beside it differ in {part!r}: one was edited, or is of another run",
                "both of one run",
                REMEDY,
            )
    saved = document.get("metrics")
    if not isinstance(saved, dict):
        raise DataError(f"{ANALYSIS} holds no metrics", f"a document of schema {SCHEMA}", REMEDY)
    differing = [name for name, value in metrics.items() if _differs(name, saved.get(name), value)]
    if not differing:
        return ()
    name = differing[0]
    others = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
    message = (
        f"{ANALYSIS} says another {name} than the moments beside it give, {metrics[name]:.4g}{others}: it was edited, "
        "or another version computed it otherwise. All numbers here are those of the moments."
    )
    return (Notice("other_numbers", message),)


def _differs(name: str, saved: Any, value: float | None) -> bool:
    """Tell whether a saved metric is another number; facts about the model changed their units between versions."""
    if saved is None or value is None or METRICS[name].scale == "fact":
        return False
    is_number = isinstance(saved, int | float) and not isinstance(saved, bool)
    return not is_number or not math.isclose(saved, value, rel_tol=ROUNDING, abs_tol=ROUNDING)
