"""Reading a model: the reader, the head finder, parameters and hidden layers, and the document of `inspect --json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fuzz import models
from onnxrich.pipelines.inspect import inspect
from onnxrich.pipelines.options import InspectOptions
from onnxrich.results.serialize import to_text

SUFFIX = ".onnx"
seeds, mutate = models.seeds, models.mutate


def check(path: Path) -> None:
    """Inspect a model without running it. The document must be strict JSON."""
    inspection = inspect(str(path), InspectOptions(verify=False))
    json.loads(to_text(inspection.to_dict()), parse_constant=refuse_constant)


def refuse_constant(constant: str) -> Any:
    """Refuse NaN and infinity, which Python reads as JSON though they are none."""
    raise AssertionError(f"the document holds {constant}")
