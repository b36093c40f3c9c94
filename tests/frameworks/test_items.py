"""Items of loaders become arrays by the names of a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.items import ModelInputs, peek, read_items

X, Z, Y = np.ones((2, 3)), np.zeros((2, 1)), np.array([0, 1])
INPUTS = ModelInputs(("x", "z"), optional=("mask",))


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ((X, Z), None),
        (((X, Z),), ["x", "z"]),
        (((X, Z), Y), ["x", "z", "labels"]),
        (([X, Z], {"head": Y}, np.ones(2)), ["x", "z", "labels"]),
        ({"z": Z, "x": X, "y": Y, "mask": Y, "more": X}, ["x", "z", "mask", "labels"]),
        (({"z": Z, "x": X}, Y), ["x", "z", "labels"]),
    ],
)
def test_bind(item: Any, names: list[str] | None) -> None:
    """Tuples go by order, mappings by name; labels are found in either, and a pair of one input too few is refused."""
    if names is None:
        with pytest.raises(AdapterError) as caught:
            INPUTS.bind(item)
        assert caught.value.found == "an item of the data holds another number of arrays than the model takes"
        assert caught.value.needed == "an array for each of x, z"
        return
    arrays = INPUTS.bind(item)
    assert list(arrays) == names
    expected = {"x": X, "z": Z, "mask": Y, "labels": Y}
    assert all(np.array_equal(array, expected[name]) for name, array in arrays.items())


def test_labels_of_several_outputs() -> None:
    """Labels for more than one output are refused."""
    with pytest.raises(AdapterError, match="an item of the data holds labels for 2 outputs"):
        ModelInputs(("x",)).bind((X, (Y, Y)))


def test_read_items() -> None:
    """An array in memory is one item, a list can be read twice, an iterator once; a number is refused."""
    inputs = ModelInputs(("x",))
    assert len(list(read_items(X, inputs))) == 1
    items = read_items([X, X], inputs)
    assert [len(list(items)) for _ in range(2)] == [2, 2]
    assert isinstance(read_items(iter([X]), inputs), Iterator)
    with pytest.raises(AdapterError, match="data of type int can't be iterated over"):
        read_items(3, inputs)


def test_peek() -> None:
    """The first item is seen and not lost, neither of an iterator nor of a list; none is an error."""
    first, items = peek(iter([1, 2]))
    assert (first, list(items)) == (1, [1, 2])
    whole = [1, 2]
    assert peek(whole) == (1, whole)
    with pytest.raises(DataError, match="the data hold no rows"):
        peek(())
