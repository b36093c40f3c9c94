"""The document of a report beside its moments: `onnxrich render DIR`."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path

from fuzz.mutations import mutate_bytes
from fuzz.saved import mutate_value, to_json
from fuzz.targets.moments import SAVED
from onnxrich.pipelines.load import load
from onnxrich.pipelines.options import LoadOptions

SUFFIX = ".json"
REPORTS = ("labelled", "unlabelled", "values")


def seeds() -> list[bytes]:
    """Documents of some reports."""
    return [(SAVED / name / "analysis.json").read_bytes() for name in REPORTS]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """A document with other bytes or values."""
    if rng.random() < 0.2:
        return mutate_bytes(rng, content)
    return to_json(rng, mutate_value(rng, json.loads(content))).encode("utf-8", "surrogatepass")


def check(path: Path) -> None:
    """Load the report of that document. Whatever it says, the numbers are those of the moments."""
    for name in REPORTS:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder)
            for file in ("moments.npz", "evaluation.npz"):
                if (SAVED / name / file).exists():
                    shutil.copy(SAVED / name / file, report / file)
            shutil.copy(path, report / "analysis.json")
            try:
                loaded = load(report, LoadOptions())
            except ValueError as error:
                refusal = error
                continue
        expected = load(SAVED / name / "moments.npz", LoadOptions())
        if loaded.metrics != expected.metrics or loaded.record != expected.record:
            raise AssertionError("the document changed the numbers")
        return
    raise refusal
