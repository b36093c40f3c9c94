"""Tables: blocks of rows in any order, and sequential data in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo_text import refused

from onnxrich.data import table as table_module
from onnxrich.data.table import Block, Column, Field, Rows, Table, read_ascending, split_rows, to_array
from onnxrich.errors import DataError

X = np.arange(30.0).reshape(15, 2)
READABLE = np.arange(15) % 4 != 1


@given(start=st.integers(0, 9), count=st.integers(0, 40), size=st.integers(1, 50))
def test_split_rows(start: int, count: int, size: int) -> None:
    """Parts hold all rows in their order; each but the last has `size` of them."""
    parts = list(split_rows(range(start, start + count), size))
    assert [row for part in parts for row in part] == list(range(start, start + count))
    assert all(len(part) == size for part in parts[:-1])


@given(rows=st.lists(st.integers(0, 14), max_size=20))
def test_read_ascending(rows: list[int]) -> None:
    """Rows in any order, with repetition, are read by row numbers that ascend and don't repeat."""

    def index(numbers: np.ndarray) -> np.ndarray:
        assert (np.diff(numbers) > 0).all()
        return X[numbers]

    np.testing.assert_array_equal(read_ascending(X, np.array(rows, dtype=np.int64), index), X[rows])
    np.testing.assert_array_equal(read_ascending(X, range(3, 9), index), X[3:9])


def sequential() -> Table:
    """A table that is read in order alone, and whose rows can't all be read."""

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        assert isinstance(rows, range)
        for part in split_rows(rows, size):
            mask = READABLE[part.start : part.stop]  # type: ignore[union-attr]
            yield Block({"x": X[part.start : part.stop][mask]}, len(part), None if mask.all() else mask)  # type: ignore[union-attr]

    return Table("stream", {"x": Field("x", X.dtype, X.shape)}, read, random=False)


def test_random_access() -> None:
    """Sequential data are loaded, and give the same rows in any order, without those that can't be read."""
    table = sequential().with_random_access(["x"])
    rows = np.random.default_rng(0).permutation(15)
    blocks = list(table.read(["x"], rows, 4))
    np.testing.assert_array_equal(np.concatenate([block.mask() for block in blocks]), READABLE[rows])
    np.testing.assert_array_equal(np.concatenate([block.arrays["x"] for block in blocks]), X[rows[READABLE[rows]]])
    memory = Table.from_columns("arrays", {"x": Column.from_array("x", X)})
    assert memory.with_random_access(["x"]) is memory


def test_data_that_are_too_large_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequential data beyond the limit are refused with what to do."""
    monkeypatch.setattr(table_module, "MAX_LOADED_BYTES", 100)
    with refused(DataError, "stream has more than 100 bytes that can be read in order alone", "leave out --shuffle"):
        sequential().with_random_access(["x"])


def test_scalars_have_no_rows() -> None:
    """A scalar is one block, whatever rows are read."""
    table = Table.from_columns("arrays", {"t": Column.from_array("t", np.array(3.0))})
    assert table.read_field("t") == 3.0


def test_what_is_no_array() -> None:
    """A value that can't be converted is refused by its name and type."""
    with refused(DataError, "'x' of type list can't be converted: setting an array element", "numpy.asarray"):
        to_array("x", [[1.0], [1.0, 2.0]])
