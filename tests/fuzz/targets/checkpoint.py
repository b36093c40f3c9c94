"""Checkpoints of a pass: a run that goes on from one."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import onnxrich
from fuzz.saved import mutate_archive, mutate_value, to_json
from fuzz.targets.moments import SAVED

SUFFIX = ".checkpoint"
BATCH = 60
FOLDER = SAVED / "checkpoints"


def seeds() -> list[bytes]:
    """Checkpoints of a finished pass."""
    return [(FOLDER / "finished").read_bytes()]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """A checkpoint with other bytes, sums or positions."""
    return mutate_archive(rng, content, _change_header)


def _change_header(rng: random.Random, arrays: dict[str, Any]) -> dict[str, Any]:
    header = to_json(rng, mutate_value(rng, json.loads(arrays["checkpoint"].tobytes())))
    return {**arrays, "checkpoint": np.frombuffer(header.encode("utf-8", "surrogatepass"), np.uint8)}


def check(path: Path) -> None:
    """Go on from the checkpoint. A file that is refused stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkpoint"
        shutil.copy(path, copy)
        try:
            model, data = str(FOLDER / "mlp.onnx"), str(FOLDER / "data.npz")
            analysis = onnxrich.run(model, data, batch_size=500, device="cpu", checkpoint=copy)
        except onnxrich.DataError:
            if copy.read_bytes() != path.read_bytes():
                raise AssertionError("a checkpoint that was refused was changed") from None
            raise
    if analysis.record.data.n != 20_000:
        raise AssertionError(f"{analysis.record.data.n} rows of 20,000")
