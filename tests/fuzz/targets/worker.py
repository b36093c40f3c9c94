"""Running a model in a worker process, as the command line does: it ends in a result or in an `OnnxrichError`."""

from __future__ import annotations

from pathlib import Path

import onnxrich
from fuzz import models

SUFFIX, BATCH, NATIVE = ".onnx", 20, "onnxruntime"
seeds, mutate = models.seeds, models.mutate


def check(path: Path) -> None:
    """Measure a model on random rows. A crash of the runtime is an error that names it."""
    onnxrich.run(path, isolate=True, timeout=15, max_memory=2 << 30, device="cpu")
