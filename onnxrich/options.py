"""Arguments that several functions take: what is checked before they begin, and what a worker process gets of them."""

from __future__ import annotations

import operator
from dataclasses import asdict, is_dataclass
from typing import Any

from onnxrich.errors import DataError, WorkerError

# The least of each whole number; a token may be counted from the end.
LEAST = {"batch_size": 1, "blocks": 0, "head": 1, "seed": 0}


def check_limits(*, isolate: bool, timeout: float | None, max_memory: int | None) -> None:
    """Check that there is a process of its own that limits can end.

    Raises:
        WorkerError: when there is none.
    """
    if not isolate and (timeout is not None or max_memory is not None):
        raise WorkerError(
            "a time or memory limit for work in this process", "a process of its own", "Pass isolate=True as well."
        )


def whole(**values: Any) -> dict[str, int | None]:
    """Whole numbers as Python's own, those of NumPy too; None stays None.

    Raises:
        DataError: when one is none, or too small.
    """
    return {name: None if value is None else _whole(name, value) for name, value in values.items()}


def _whole(name: str, value: Any) -> int:
    least = LEAST.get(name)
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        option = f"--{name.replace('_', '-')}"
        raise DataError(
            f"{name} {value!r}",
            "a whole number" if least is None else f"a whole number from {least}",
            f"Pass {option} N." if least is None else f"Pass {option} N with N ≥ {least}.",
        )
    return number


def plain(**values: Any) -> dict[str, Any]:
    """Dataclasses as JSON-able values; all else as it is."""
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }
