"""Batches, shards, and items that are skipped."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_text import refused

from onnxrich.data.source import Batch, Shard, SkippedItems, Source, find_non_finite_row
from onnxrich.errors import DataError, Notice

X = np.arange(20.0).reshape(10, 2)


def test_take() -> None:
    """Rows of a batch are taken from inputs and labels; what all rows share stays."""
    table = np.eye(3)
    batch = Batch({"x": X, "t": np.float32(2), "table": table}, np.arange(10), 10, frozenset({"table"}))
    for index in (slice(2, 5), np.array([7, 1])):
        part = batch.take(index)
        np.testing.assert_array_equal(part.inputs["x"], X[index])
        np.testing.assert_array_equal(part.labels, np.arange(10)[index])
        assert part.inputs["table"] is table and part.inputs["t"] == 2
        assert part.rows == len(X[index])


def test_shards() -> None:
    """Shards hold all rows; the last one may be shorter."""
    source = Source("data", lambda shard, size: iter(()), n=10)
    assert source.shards(4) == (Shard(0, 4), Shard(4, 8), Shard(8, 10))


def test_skipped_items() -> None:
    """As many items as allowed are skipped, counted and named; one more ends the pass; a new pass counts anew."""
    skipped = SkippedItems(12)
    skipped.open_notices.append(Notice("of_opening", "It stays."))
    for _ in range(2):
        skipped.begin_pass()
        for number in range(12):
            skipped.skip(f"{number}\x1b", "no image")
        *others, notice = skipped.notices()
        assert [other.code for other in others] == ["of_opening"]
        names = ", ".join(f"{number}\\x1b" for number in range(10))
        assert notice.message == f"12 items could not be read and were left out: {names} and 2 more."
    with refused(
        DataError, "last: no image (--max-errors allows 12); needed: items that can be read. Fix or remove it"
    ):
        skipped.skip("last", "no image")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_row(value: float) -> None:
    """The first row with NaN or infinity is found; a sum that overflows is no proof of one."""
    assert find_non_finite_row(X) is None
    assert find_non_finite_row(np.full((4, 2), 3e38, np.float32)) is None
    assert find_non_finite_row(np.arange(4)) is None
    values = X.copy()
    values[[6, 8], 1] = value
    assert find_non_finite_row(values) == 6
    assert find_non_finite_row(np.array(value)) == 0
