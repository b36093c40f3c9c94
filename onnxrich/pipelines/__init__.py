"""What each public verb does, in this process. A verb is a function of a subject and its options."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# The module of each verb.
VERBS = {
    "run": "run",
    "load": "load",
    "compare": "compare",
    "track": "track",
    "inspect": "inspect",
    "expose": "patch",
    "instrument": "patch",
    "export": "export",
}


def pipeline(verb: str) -> Callable[[Any, Any], Any]:
    """Import the function of a verb. ONNX and its runtime, which it needs, take longer to import than all the rest."""
    function: Callable[[Any, Any], Any] = getattr(import_module(f"{__name__}.{VERBS[verb]}"), verb)
    return function
