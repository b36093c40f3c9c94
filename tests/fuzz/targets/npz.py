"""NumPy's `.npz`: tricks of zip archives, and the headers in them, against `numpy.load`."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from fuzz.rows import X, Y, check_rows, mutate_zip, npy, pack
from fuzz.targets.npy import mutate as mutate_npy

SUFFIX = ".npz"


def seeds() -> list[bytes]:
    """Rows and labels, packed or not."""
    words = np.array(["ant", "bee", "cat"])[Y]
    return [
        pack({"x.npy": npy(X), "y.npy": npy(Y)}), pack({"x.npy": npy(X), "y.npy": npy(Y)}, 0),
        pack({"x.npy": npy(np.asfortranarray(X)), "y.npy": npy(Y.astype(np.uint8))}),
        pack({"x.npy": npy(X), "y.npy": npy(words)}),
    ]  # fmt: skip


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change the archive, or a header in it."""
    return mutate_zip(rng, content, mutate_npy)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        return arrays["x"], arrays["y"]


def check(path: Path) -> None:
    """Rows and labels are those of `numpy.load`."""
    check_rows(path, _read)
