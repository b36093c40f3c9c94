"""Labels of all types, numbers and shapes: a run on them ends in finite numbers or a refusal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from zoo_text import two_layers

from fuzz.mutations import EDGES, FLOATS, NAMES
from fuzz.rows import X, Y, npy, pack
from fuzz.targets.model import refuse_constant
from onnxrich.pipelines.options import RunOptions
from onnxrich.pipelines.run import run
from onnxrich.results.serialize import to_text

SUFFIX = ".npz"
TYPES = ("i1", "u1", "i2", ">i4", "i8", "u8", "f2", "f4", "f8", "g", "?", "U5", "c8", "M8[s]")


def seeds() -> list[bytes]:
    """Rows with labels."""
    return [pack({"x.npy": npy(X), "y.npy": npy(Y)})]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Labels of another type, with other numbers or words in some places, in another shape."""
    kind = rng.choice(TYPES)
    values = [_label(rng, kind, int(label)) if rng.random() < rng.choice((0, 0.1, 0.5)) else label for label in Y]
    with np.errstate(all="ignore"):
        try:
            labels = np.array(values).astype(kind)
        except (ValueError, TypeError, OverflowError):
            labels = np.array([str(value)[:300] for value in values])
    shape = rng.choice(((24,), (24,), (24,), (24,), (24, 1), (24, 1, 1), (12, 2), (1, 24), (24, 0), (8, 3), (2, 12)))
    labels = labels[:0].reshape(shape) if 0 in shape else labels.reshape(shape)
    return pack({"x.npy": npy(X), "y.npy": npy(labels)})


def _label(rng: random.Random, kind: str, label: int) -> object:
    if kind.startswith("U"):
        return rng.choice(NAMES)
    return (
        rng.choice(FLOATS if kind[-2] == "f" or kind == "g" else (*EDGES, label + 1, 3, 4, 25, 4097))
        if len(kind) > 1
        else label
    )


def check(path: Path) -> None:
    """Run the honest model: the document of the result is strict JSON."""
    analysis = run(two_layers(), RunOptions(data=str(path), labels="y"))
    json.loads(to_text(analysis.to_dict()), parse_constant=refuse_constant)
