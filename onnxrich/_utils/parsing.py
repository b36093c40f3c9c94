"""JSON and TOML whose author is unknown: whatever is wrong with them is a ValueError of one line."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from typing import Any


def parse_json(content: bytes) -> Any:
    """Parse a JSON document; NaN and Infinity, which Python's writers leave in it, are read as numbers.

    Raises:
        ValueError: when it is none, is nested too deeply, or holds a key of an object twice, of which other programs
            may take the other one.
    """
    try:
        return json.loads(content, object_pairs_hook=_to_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError("no UTF-8") from error


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = next(key for key, number in Counter(key for key, _ in pairs).items() if number > 1)
        raise ValueError(f"the key {twice[:50]!r} twice")
    return document


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
