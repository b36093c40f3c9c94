"""Running a model, in the child itself: `inspect`, which verifies heads, and `run` with hidden layers."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz import models
from fuzz.targets.model import refuse_constant
from onnxrich.pipelines.inspect import inspect
from onnxrich.pipelines.options import InspectOptions, RunOptions
from onnxrich.pipelines.run import run_onnx
from onnxrich.results.serialize import to_text

SUFFIX, BATCH, NATIVE = ".onnx", 100, "onnxruntime"
seeds, mutate = models.seeds, models.mutate


def check(path: Path) -> None:
    """Verify the heads of a model and measure it. Both documents must be strict JSON."""
    json.loads(to_text(inspect(str(path), InspectOptions()).to_dict()), parse_constant=refuse_constant)
    analysis = run_onnx(str(path), RunOptions(device="cpu", layers="all"))
    json.loads(analysis.to_json(), parse_constant=refuse_constant)
