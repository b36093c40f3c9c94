"""HDF5: datasets of all types, layouts, filters and links, and damaged files, against h5py's whole arrays."""

from __future__ import annotations

import contextlib
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuzz.mutations import NAMES, mutate_bytes
from fuzz.rows import X, Y, check_rows

# The library of HDF5 crashes on some damaged files.
SUFFIX, NATIVE = ".h5", "h5py"


def seeds() -> list[bytes]:
    """Files, of which `mutate` writes others."""
    return [_write(random.Random(seed)) for seed in range(12)]


def _write(rng: random.Random) -> bytes:
    buffer = BytesIO()
    with h5py.File(buffer, "w", libver=rng.choice(("earliest", "latest"))) as file:
        x = X.astype(rng.choice(("<f4", ">f4", "<f8", "<f2")))
        way: dict[str, Any] = rng.choice(
            (
                {}, {"chunks": (5, 6)}, {"chunks": (24, 1), "compression": "gzip"},
                {"chunks": (7, 3), "shuffle": True, "fletcher32": True},
                {"chunks": (5, 6), "maxshape": (None, 6)}, {"chunks": (2**20, 6), "maxshape": (None, 6)},
            )
        )  # fmt: skip
        file.create_dataset("x", data=x, **way)
        file["y"] = Y.astype(rng.choice(("i1", "u1", "i8", ">i4", "u8", "f8", "?")))
        for _ in range(rng.choice((0, 0, 1, 2))):
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # of a name that is there
                rng.choice(_ADDITIONS)(file, rng)
    return buffer.getvalue()


def _link(file: Any, rng: random.Random) -> None:
    soft, external = h5py.SoftLink, h5py.ExternalLink
    file["loop"] = rng.choice((soft("/loop"), soft("/x"), external("/etc/passwd", "/x"), external("input.h5", "/")))


def _circle(file: Any, rng: random.Random) -> None:
    file["g/a"] = 1
    file["g/g"] = file["g"]


def _type(file: Any, rng: random.Random) -> None:
    arrays = (X.astype(complex), np.array([b"a"] * 24), np.float32(1), np.zeros((0, 6)), np.zeros((24, 0)))
    name = rng.choice(NAMES).replace("\0", "0").strip("./") or "n"
    if name not in file:
        file.create_dataset(name, data=rng.choice((*arrays, h5py.Empty("f4"))))


def _shape(file: Any, rng: random.Random) -> None:
    del file["y"]
    shape = rng.choice(((24,), (10**9,), (2**40,), (0,), (24, 1), (24, 2**40), (23,)))
    chunks = None if 0 in shape else tuple(min(size, 1000) for size in shape)
    file.create_dataset("y", shape, "i8", chunks=chunks, fillvalue=rng.choice((0, 1, -1)))


_ADDITIONS = (_link, _circle, _type, _shape)


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Write another file, or change bytes of one."""
    return _write(rng) if rng.random() < 0.3 else mutate_bytes(rng, content)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with h5py.File(path) as file:
        return file["x"][:], file["y"][:]


def check(path: Path) -> None:
    """Rows and labels are those of h5py."""
    check_rows(path, _read)
