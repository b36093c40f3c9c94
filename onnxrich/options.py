"""Arguments that several functions take: what is checked before they begin, and what a worker process gets of them."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

from onnxrich.errors import DataError, WorkerError


def check(
    *, isolate: bool, timeout: float | None, max_memory: int | None, batch_size: int | None, blocks: int | None
) -> None:
    """Check limits and sizes.

    Raises:
        WorkerError: when there are limits, and no process of its own that they can end.
        DataError: when a size can't be one.
    """
    if not isolate and (timeout is not None or max_memory is not None):
        raise WorkerError(
            "a time or memory limit for work in this process", "a process of its own", "Pass isolate=True as well."
        )
    if blocks is not None and blocks < 0:
        raise DataError(f"{blocks} blocks", "a number from 0", "Pass --blocks N with N ≥ 0.")
    if batch_size is not None and batch_size < 1:
        raise DataError(f"batch size {batch_size}", "a positive number", "Pass --batch-size N with N ≥ 1.")


def plain(**values: Any) -> dict[str, Any]:
    """Dataclasses as JSON-able values; all else as it is."""
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in values.items()
    }
