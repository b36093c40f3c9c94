"""A framework's data are read whole, and refused in words where the core can't take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_plugin import install

import onnxrich


def test_no_rows(site: Path) -> None:
    """A loader without items can't show what the model takes."""
    install(site, "fake")
    import fake  # type: ignore[import-not-found]

    with pytest.raises(onnxrich.DataError, match="the data hold no rows"):
        onnxrich.run(fake.load(Path("a.fake")), [])


def test_file_for_a_framework_model(site: Path) -> None:
    """A data file doesn't name the model's inputs before the export: the message says what to pass."""
    install(site, "fake")
    import fake

    message = r"the model of type Model comes with a data file.*onnxrich\.export"
    with pytest.raises(onnxrich.DataError, match=message):
        onnxrich.run(fake.load(Path("a.fake")), "test.npz")


def test_data_sets_are_read_whole(site: Path) -> None:
    """A data set with a shape, as those of Hugging Face have, is iterated over; it is not taken for one array."""
    install(site)
    import fake

    class DataSet:
        shape = (8, 2)

        def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            rows = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
            return iter([(rows, np.zeros(8, np.int64))] * 3)

    assert onnxrich.run(fake.load(Path("a.fake")), DataSet()).record.data.n == 24
