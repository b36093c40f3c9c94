"""JSON and TOML whose author is unknown: parsed to plain values of bounded size, or refused in a line."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from typing import Any

# The most characters of a document. A million of them can become 20 MB of Python's objects; an analysis with 128,000
# names of classes has less than half of this.
LARGEST = 2**25
# The deepest nesting: what onnxrich writes has less than half of it.
DEEPEST = 24
# Whole numbers fit into 64 bits with a sign.
_DIGITS = 19


def parse_json(text: str | bytes, *, is_finite: bool = True) -> Any:
    """Parse a JSON document.

    Args:
        text: the document, in UTF-8 where it is bytes.
        is_finite: whether NaN and infinity, which Python writes as such, are refused, and whole numbers beyond 64 bits.
            Where not, such whole numbers become floats: configurations of Hugging Face say 10^30 for "no limit".

    Raises:
        ValueError: when it is no JSON, too long or too deep, when it holds a number beyond those of 64 bits (a float
            that is infinite), or when an object has two values of a name.
    """
    if len(text) > LARGEST:
        raise ValueError(f"JSON of more than {LARGEST:,} characters")
    try:
        value = json.loads(
            text.decode("utf-8-sig") if isinstance(text, bytes) else text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant if is_finite else float,
            parse_float=_finite,
            parse_int=_whole if is_finite else _whole_or_float,
        )
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError("no UTF-8") from error
    _check_depth(value)
    return value


def parse_toml(content: bytes) -> dict[str, Any]:
    """Parse a TOML document.

    Raises:
        ValueError: when it is none, or is nested too deeply.
    """
    try:
        return tomllib.loads(content.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError("no UTF-8") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, number in Counter(name for name, _ in pairs).items() if number > 1)
        raise ValueError(f"the key {twice[:50]!r} twice")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond those of 64 bits")
    return number


def _whole(digits: str) -> int:
    if not _is_short(digits):
        raise ValueError("a number beyond those of 64 bits")
    return int(digits)


def _whole_or_float(digits: str) -> float:
    return int(digits) if _is_short(digits) else _finite(digits)


def _is_short(digits: str) -> bool:
    # Counted first: Python needs a time that grows with the square of the digits.
    return len(digits.lstrip("-")) <= _DIGITS and -(2**63) <= int(digits) < 2**63


def _check_depth(value: Any) -> None:
    """Check that what walks through the value by recursion, as encoders of JSON do, comes to its end."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError("JSON nested too deeply")
