"""NumPy's `.npy`: headers that lie about shape, type, order and version, against `numpy.load`."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np

from fuzz.mutations import EDGES, mutate_bytes
from fuzz.rows import X, check_rows, npy

SUFFIX = ".npy"
DESCRIPTIONS = (
    "'<f4'", "'>f4'", "'<f8'", "'<f2'", "'<f16'", "'|b1'", "'|u1'", "'<i8'", "'<u8'", "'<c8'", "'|O'", "'<U1'", "'|S4'",
    "'|V4'", "'<M8[s]'", "('<f4', (6,))", "[('a', '<f4')]", "'<U999999999'", "'f'", "4", "None", "'|b0'", "'<f4,<f4'",
    "'<f3'",
)  # fmt: skip


def seeds() -> list[bytes]:
    """Rows of several types and orders."""
    others = (X, np.asfortranarray(X), X.astype(np.float64), X.astype(">f4"), X.astype(np.float16), X[:0], X[0, 0])
    return [npy(array) for array in others]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Write another header before the same bytes, or change some bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, content)
    start = 10 + struct.unpack("<H", content[8:10])[0]
    return header(rng, content[10:start].decode()) + content[start : rng.choice((None, None, -1, start + 8))]


def header(rng: random.Random, text: str) -> bytes:
    """A variant of a header."""
    for _ in range(rng.choice((1, 1, 2))):
        text = rng.choice((_shape, _shape, _type, _order, _wild))(rng, text)
    body = text.encode("utf-8", "replace") + b"\n"
    version = rng.choice((b"\1\0",) * 5 + (b"\2\0", b"\3\0", b"\0\0", b"\1\1"))
    size = struct.pack("<H", len(body) % 2**16) if version[0] == 1 else struct.pack("<I", len(body))
    return b"\x93NUMPY" + version + size + body


def _shape(rng: random.Random, text: str) -> str:
    choices = (*EDGES, 24, 6, 12, 144, 3, "True", "2.0", "9" * 5000, "()", "'a'", "None", "1L")
    count = rng.choice((0, 1, 2, 2, 2, 3, 4, 32, 33, 64, 65))
    return _replace(
        text, "'shape': ", f"({', '.join(str(rng.choice(choices)) for _ in range(count))},)" if count else "()"
    )


def _type(rng: random.Random, text: str) -> str:
    return _replace(text, "'descr': ", rng.choice(DESCRIPTIONS))


def _order(rng: random.Random, text: str) -> str:
    return _replace(text, "'fortran_order': ", rng.choice(("True", "False", "1", "None", "'C'")))


def _wild(rng: random.Random, text: str) -> str:
    wild = ("[1]", "(" * 3000, "{" * 500, "__import__('os').getpid()", text + " " * 11_000, text[:-9], text + "\0", "")
    return rng.choice(wild)


def _replace(text: str, key: str, value: str) -> str:
    """The header with another value of a key, whose own value ends at the next key."""
    before, found, after = text.partition(key)
    if not found:
        return text
    ends = [at for at in (after.find(", '"), after.find(", }")) if at >= 0]
    return before + key + value + after[min(ends, default=0) :]


def check(path: Path) -> None:
    """Rows are those of `numpy.load`."""
    check_rows(path, lambda file: (np.load(file), None), labels=None)
