"""Numbers, sizes and lists of names as text for messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

# Names that a message lists at most.
_LISTED = 12


def name_list(names: Iterable[Any]) -> str:
    """Names for a message; of many, the first and the last ones."""
    told = [repr(name) for name in names]
    if len(told) > _LISTED:
        half = _LISTED // 2
        told = [*told[:half], f"… ({len(told) - 2 * half} more)", *told[-half:]]
    return ", ".join(told) or "no arrays"


def shape_text(shape: Sequence[int | str | None]) -> str:
    """A shape as text."""
    return " × ".join("?" if size is None else str(size) for size in shape) or "()"


def size_text(count: int) -> str:
    number, unit = (count / 2**30, "GiB") if count >= 2**30 else (count / 2**20, "MiB")
    return f"{number:,.0f} {unit}" if number >= 1000 else f"{number:.3g} {unit}"


def count_text(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")
