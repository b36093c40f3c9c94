"""The fingerprint: a sum of XXH3 hashes, the same for the same rows however they come."""

from __future__ import annotations

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from onnxrich.data.fingerprint import Fingerprint

X = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
LABELS = np.arange(30) % 4


def of(order: np.ndarray, cuts: list[int]) -> str:
    """The fingerprint of rows in an order, cut into batches."""
    fingerprint = Fingerprint()
    for part in np.split(order, sorted(cuts)):
        fingerprint.add({"x": X[part], "t": np.float32(2.0)}, LABELS[part], len(part))  # type: ignore[dict-item]
    return fingerprint.hexdigest()


@given(order=st.permutations(range(30)), cuts=st.lists(st.integers(0, 30), max_size=6))
def test_sum_of_hashes(order: list[int], cuts: list[int]) -> None:
    """It is the sum of the rows' hashes, seeded by that of the label as int64, and that by what all rows share."""
    shared = xxhash.xxh3_64_intdigest(np.float32(2.0).tobytes())
    hashes = [
        xxhash.xxh3_128_intdigest(row.tobytes(), xxhash.xxh3_64_intdigest(int(label).to_bytes(8, "little"), shared))
        for row, label in zip(X, LABELS, strict=True)
    ]
    expected = sum(hashes) % 2**128
    assert of(np.array(order), cuts) == f"{expected:032x}"


def test_sequence() -> None:
    """It tells which rows came in which batch: their order within one is no matter."""

    def sequence(order: list[int], cut: int) -> str:
        fingerprint = Fingerprint()
        for part in np.split(np.array(order), [cut]):
            fingerprint.add({"x": X[part]}, LABELS[part], len(part))
        return fingerprint.sequence()

    rows = list(range(30))
    plain = sequence(rows, 10)
    assert plain == sequence(rows[:10][::-1] + rows[10:], 10)
    assert (
        len({plain, sequence(rows, 12), sequence(rows[::-1], 10), sequence(rows[1:11] + rows[:1] + rows[11:], 10)}) == 4
    )


def test_what_it_tells_apart() -> None:
    """Another value, another label, another type, a row more or twice: each gives another fingerprint."""
    rows = np.arange(30)
    digests = {of(rows, []), of(rows[:29], []), of(np.append(rows, 0), [])}
    other = X.copy()
    other[3, 3] += 1
    for x, labels in ((other, LABELS), (X, LABELS + 1), (X.astype(np.float64), LABELS), (X, None), (X, LABELS * 1.0)):
        fingerprint = Fingerprint()
        fingerprint.add({"x": x}, labels, 30)
        digests.add(fingerprint.hexdigest())
    assert len(digests) == 8


def test_types_of_labels() -> None:
    """Classes are the same in whatever type of integer a format keeps them; arrays in whatever order of memory."""
    digests = set()
    for dtype in (np.int64, np.uint8, np.int32, np.bool_):
        fingerprint = Fingerprint()
        fingerprint.add({"x": np.asfortranarray(X)}, (LABELS % 2).astype(dtype), 30)
        digests.add(fingerprint.hexdigest())
    assert len(digests) == 1
