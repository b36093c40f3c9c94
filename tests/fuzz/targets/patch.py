"""Patching a model: `expose` and `instrument`, with the head that is found."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fuzz import models
from onnxrich.errors import OnnxrichError
from onnxrich.pipelines.options import ExposeOptions, InstrumentOptions
from onnxrich.pipelines.patch import expose, instrument

SUFFIX = ".onnx"
seeds, mutate = models.seeds, models.mutate


def check(path: Path) -> None:
    """Write both patched models beside the model."""
    for work, options in ((expose, ExposeOptions), (instrument, InstrumentOptions)):
        target = path.with_name("patched.onnx")
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        try:
            work(str(path), options(output=str(target)))
        except OnnxrichError:
            assert not target.exists(), "a file was written though the model was refused"
            raise
        assert target.stat().st_size
