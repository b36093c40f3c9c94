"""Saved moments: `onnxrich render` and its document."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.saved import mutate_archive, mutate_value, to_json
from onnxrich.pipelines.load import load
from onnxrich.pipelines.options import LoadOptions
from onnxrich.results.serialize import to_text

SUFFIX = ".npz"
SAVED = Path(__file__).parents[2] / "compatibility" / "0.1.0"


def seeds() -> list[bytes]:
    """Moments with and without labels, of values and of tokens, with layers and errors."""
    return [(SAVED / name / "moments.npz").read_bytes() for name in ("labelled", "unlabelled", "values", "tokens")]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Moments with other bytes, arrays or records."""
    return mutate_archive(rng, content, _change_text)


def _change_text(rng: random.Random, arrays: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(("record", "record", "record", "tallies"))
    value = mutate_value(rng, json.loads(str(arrays[name])))
    return {**arrays, name: np.array(to_json(rng, value))}


def check(path: Path) -> None:
    """Compute the analysis. Its document must be strict JSON."""
    document = load(path, LoadOptions()).to_dict()
    json.loads(to_text(document))
