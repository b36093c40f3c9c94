"""Mutations of bytes, for any format, and numbers at the edges of their types."""

from __future__ import annotations

import random

# Integers that a reader rarely expects.
EDGES = (
    0, 1, -1, 2, -2, 3, 7, 8, 64, 65, 127, 128, 255, 256, 1000, 2**15, 2**16, 2**24, 10**6, 10**9, -(10**9),
    2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
# Floats likewise.
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"))
# Names likewise: control and bidirectional characters, paths, very long ones.
NAMES = (
    "", " ", "\n", "\0", "\x1b[31m", "\x9b31m", "\u202egnp", "\ufeff", "a" * 300, "é" * 5000, "../../etc/passwd",
    "C:\\x", "{0}", "%s%n", "$(id)", "<script>", "NaN", "null", "__class__", "😀",
)  # fmt: skip


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Change some bytes: flip, overwrite, cut, repeat, move or splice them."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        rng.choice(_MUTATIONS)(rng, data)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    """Write a number at an edge of its type, little- or big-endian, or as a varint with its highest bits set."""
    size = rng.choice((1, 2, 4, 8))
    number = (rng.choice(EDGES) & (2 ** (8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))
    number = rng.choice((number, b"\xff" * (size + 1) + b"\x01", b"\x80" * size + b"\x00"))
    start = rng.randrange(len(data) + 1)
    data[start : start + len(number)] = number


def _cut(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + _length(rng, data)]


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _repeat(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + _length(rng, data)]
    data[start:start] = part * rng.choice((1, 2, 8))


def _splice(rng: random.Random, data: bytearray) -> None:
    start, source = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    part = data[source : source + _length(rng, data)]
    data[start : start + len(part)] = part


def _insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _length(rng: random.Random, data: bytearray) -> int:
    return min(len(data), rng.choice((1, 2, 4, 16, 256, 4096)))


_MUTATIONS = (_flip, _flip, _overwrite, _overwrite, _cut, _truncate, _repeat, _splice, _insert)
