"""Checks of arguments by their names: types, ranges and paths."""

from __future__ import annotations

import math
import numbers
import operator
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from onnxrich.errors import DataError

# The least of each whole number; a token may be counted from the end.
LEAST = {
    "batch_size": 1, "blocks": 0, "head": 1, "limit": 1, "max_errors": 0, "max_memory": 1, "seed": 0, "step": 0,
}  # fmt: skip
# The value of a limit that is switched off.
NO_LIMIT = "none"
# Arguments with a default of their own: None is no value of these.
_ALWAYS = ("balanced", "checkpoints", "device", "max_errors", "output", "path", "seed", "shuffle")


def validated(**values: Any) -> dict[str, Any]:
    """Arguments as their names promise them: whole numbers as Python's own, paths as text, names as a list.

    None stays None where it stands for an argument that was left out.

    Raises:
        DataError: when one is of another type, or a number is too small.
    """
    return {
        name: None if value is None and name not in _ALWAYS else KINDS[name](name, value)
        for name, value in values.items()
    }


def _whole(name: str, value: Any) -> int:
    least = LEAST.get(name)
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        raise _refusal(
            name,
            value,
            "a whole number" if least is None else f"a whole number from {least}",
            f"Pass {_flag(name)} N." if least is None else f"Pass {_flag(name)} N with N ≥ {least}.",
        )
    return number


def _seconds(name: str, value: Any) -> float:
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise _refusal(name, value, "a number of seconds above 0", f"Pass {_flag(name)} SECONDS.")
    return number


def _memory(name: str, value: Any) -> int | str:
    return NO_LIMIT if value == NO_LIMIT and isinstance(value, str) else _whole(name, value)


def _stall(name: str, value: Any) -> float | str:
    return NO_LIMIT if value == NO_LIMIT and isinstance(value, str) else _seconds(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refusal(name, value, "text", f"Pass {_flag(name)} NAME.")
    return value


def _names(name: str, value: Any) -> list[str]:
    single = [value] if isinstance(value, str) else value
    listed = isinstance(single, Iterable) and not isinstance(single, bytes | Mapping)
    several = list(single) if listed else []
    if not listed or not all(isinstance(each, str) for each in several):
        raise _refusal(name, value, "a name, or a list of names", f"Pass {_flag(name)} NAME,NAME.")
    return several


def _path(name: str, value: Any) -> str:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise _refusal(name, value, "the path of a file", "Pass it as text or as a pathlib.Path.")
    return path


def _paths(name: str, value: Any) -> list[str]:
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return [_path(name, value)]
    return [_path(name, each) for each in value]


def _axes(name: str, value: Any) -> str:
    """Axes by name as text, NAME=N and so on; a single number is for all."""
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={axis}" for key, axis in value.items())
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,2}|[^,]*=\d{1,2}(,[^,]*=\d{1,2})*", text):
        raise _refusal(name, value, "the number of an axis, or NAME=N", f"Pass {_flag(name)} 1, or {_flag(name)} x=1.")
    return text


def _truth(name: str, value: Any) -> bool:
    # NumPy's truths too, which are arrays without axes.
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if not isinstance(value, bool):
        raise _refusal(name, value, "True or False", f"Pass {_flag(name)}, or leave it out.")
    return value


def _listener(name: str, value: Any) -> Any:
    if not callable(value):
        raise _refusal(
            name, value, "a function that takes an onnxrich.Progress", "Pass progress=print, or leave it out."
        )
    return value


# The check of each argument, by its name.
KINDS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys((*LEAST, "ignore_label", "token"), _whole),
    **dict.fromkeys(("device", "features", "mask", "outputs", "provider", "text"), _text),
    **dict.fromkeys(("layers", "metrics"), _names),
    **dict.fromkeys(("checkpoint", "evaluation", "init", "output", "path", "tokenizer"), _path),
    **dict.fromkeys(("balanced", "shuffle"), _truth),
    "batch_axis": _axes,
    "checkpoints": _paths,
    "max_memory": _memory,
    "progress": _listener,
    "stall_timeout": _stall,
    "timeout": _seconds,
}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _refusal(name: str, value: Any, needed: str, remedy: str) -> DataError:
    return DataError(f"{name} {reprlib.repr(value)}", needed, remedy)
