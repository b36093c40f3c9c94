"""JSON: arrays and lines of objects with other values, names, depths and lengths, against Python's own reader."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from fuzz.mutations import mutate_bytes
from fuzz.rows import X, Y, check_rows, dump, mutate_value

SUFFIX = ".json"


def seeds() -> list[bytes]:
    """The rows as an array, and as lines."""
    rows = [{"x": row, "y": int(label)} for row, label in zip(X.tolist(), Y, strict=True)]
    return [json.dumps(rows).encode(), "\n".join(map(json.dumps, rows)).encode()]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change values, objects or bytes."""
    if rng.random() < 0.2:
        return mutate_bytes(rng, content)
    lines = not content.startswith(b"[")
    rows = [json.loads(line) for line in content.splitlines()] if lines else json.loads(content)
    for _ in range(rng.choice((1, 1, 2))):
        rows = mutate_value(rng, rows)
    if not lines or not isinstance(rows, list):
        return dump(rows)
    return rng.choice((b"\n", b"\n", b"", b" ", b"\n\n", b",\n")).join(map(dump, rows))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = path.read_bytes()
    rows = json.loads(content) if content.lstrip()[:1] == b"[" else [json.loads(line) for line in content.splitlines()]
    return np.array([row["x"] for row in rows]), np.array([row["y"] for row in rows])


def check(path: Path) -> None:
    """Rows and labels are those of the module json."""
    check_rows(path, _read)
