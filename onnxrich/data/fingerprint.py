"""A fingerprint of rows: two results that have the same one were measured on the same rows, in whatever order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

_MODULUS = 2**128


class Fingerprint:
    """The sum, modulo 2¹²⁸, of the XXH3 hash of each row: its inputs as they are fed, and its label.

    A sum of hashes (Bellare & Micciancio 1997, AdHash) depends neither on the order of the rows nor on how they are
    cut, and those of parts add up to that of the whole, as moments do. It tells data apart; it is no proof against
    somebody who makes up rows to collide. A cryptographic hash in such a sum would hardly be one either, and would cost
    a fast model a tenth of its time.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._sequence = xxhash.xxh3_128()

    def add(self, inputs: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None, rows: int) -> None:
        """Add the rows of a batch."""
        parts = [array for array in inputs.values() if array.ndim and len(array) == rows]
        # What has no rows belongs to each of them.
        shared = xxhash.xxh3_64()
        for array in inputs.values():
            if not (array.ndim and len(array) == rows):
                shared.update(np.ascontiguousarray(array).tobytes())
        seeds = [shared.intdigest()] * rows
        if labels is not None:
            # Formats keep the same labels in different types.
            parts.insert(0, labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64))
        # The hash of each part is the seed of the next: one call a row and part, for these calls are what it costs.
        for array in parts[:-1]:
            seeds = list(map(xxhash.xxh3_64_intdigest, _by_row(array), seeds))
        last = _by_row(parts[-1]) if parts else [b""] * rows
        total = sum(map(xxhash.xxh3_128_intdigest, last, seeds)) % _MODULUS
        self._sum = (self._sum + total) % _MODULUS
        self._sequence.update(total.to_bytes(16, "little"))
        self.rows += rows

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._sum:032x}"

    def sequence(self) -> str:
        """32 hexadecimal digits that tell which rows came in which batch: the hash of the sums of the batches."""
        return self._sequence.hexdigest()


def _by_row(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of each row."""
    return np.ascontiguousarray(array).reshape(len(array), math.prod(array.shape[1:])).view(np.uint8)
