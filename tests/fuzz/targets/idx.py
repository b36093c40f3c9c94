"""The idx format: types, axes and sizes that lie, packed or not, against a few lines of NumPy."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np

from fuzz.mutations import EDGES, mutate_bytes
from fuzz.rows import X, check_rows

SUFFIX = ".idx"
TYPES = {13: ">f4", 14: ">f8"}


def seeds() -> list[bytes]:
    """Rows of floats."""
    return [bytes([0, 0, kind, 2, 0, 0, 0, 24, 0, 0, 0, 6]) + X.astype(name).tobytes() for kind, name in TYPES.items()]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change the header's fields, or any bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, content)
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.choice((0, 2, 2, 3, 4, 8))
        size = 1 if at < 4 else 4
        value = rng.choice((*EDGES, 24, 6, 12, 8, 9, 11, 12, 13, 14)) & (2 ** (8 * size) - 1)
        data[at : at + size] = value.to_bytes(size, "big")
    return bytes(data) + rng.choice((b"", b"", b"more", bytes(600)))


def _read(path: Path) -> tuple[np.ndarray, None]:
    content = path.read_bytes()
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, TYPES[content[2]], -1, 4 + 4 * content[3]).reshape(shape), None


def check(path: Path) -> None:
    """Rows are those of the bytes, read in place, and unpacked."""
    packed = path.with_name("input.idx.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    try:
        check_rows(path, _read, labels=None)
    finally:
        check_rows(packed, lambda file: _read(path), labels=None)
