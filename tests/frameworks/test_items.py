"""Items of loaders become arrays by the names of a model's inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.items import ModelInputs, peek, read_items
from onnxrich.frameworks.registry import join_labels

X, Z, Y = np.ones((2, 3)), np.zeros((2, 1)), np.array([0, 1])
INPUTS = ModelInputs(("x", "z"), optional=("mask",))


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ((X, Z), ["x", "z"]),
        ((X, Z, Y), ["x", "z", "labels"]),
        ((X,), None),
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
    items = read_items([X, X[:1]], inputs)
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


@pytest.mark.parametrize(
    ("data", "names", "expected"),
    [
        ((X, X), ["x"], [{"x": X, "labels": X}]),
        ((X, Y), ["x"], [{"x": X, "labels": Y}]),
        ([X, Y], ["x"], [{"x": X, "labels": Y}]),
        ([(X, X)], ["x"], [{"x": X, "labels": X}]),
        ((X, X), ["x", "z"], [{"x": X, "z": X}]),
        ([X, Z, Y], ["x", "z"], [{"x": X, "z": Z, "labels": Y}]),
        (((X, Z), Y), ["x", "z"], [{"x": X, "z": Z, "labels": Y}]),
        ([X, X[:1]], ["x"], [{"x": X}, {"x": X[:1]}]),
        ((X, X, X), ["x"], [{"x": X}, {"x": X}, {"x": X}]),
        ([(X, Y), (X, Y)], ["x"], [{"x": X, "labels": Y}] * 2),
    ],
)
def test_the_number_of_inputs_decides(data: Any, names: list[str], expected: list[dict[str, np.ndarray]]) -> None:
    """Arrays beside each other are inputs and labels where their number is that; else they are batches."""
    items = list(read_items(data, ModelInputs(names)))
    assert [list(item) for item in items] == [list(item) for item in expected]
    for item, arrays in zip(items, expected, strict=True):
        assert all(np.array_equal(item[name], array) for name, array in arrays.items())


def test_a_list_of_two_arrays_of_one_shape() -> None:
    """Two batches, or inputs and targets: nothing tells, so it is refused."""
    with pytest.raises(AdapterError) as caught:
        read_items([X, X], ModelInputs(("x",)))
    assert str(caught.value) == (
        "the data are a list of 2 arrays of one shape, which may be batches, or inputs and targets; needed: data that "
        "are one of the two. Pass the tuple (x, target), or batches as [(x1,), (x2,)]."
    )


class Rows:
    """A data set without `__iter__` and without an end but its length, as those of PyTorch may be."""

    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full(3, index), np.full(2, index)


def test_rows_without_an_axis_of_rows() -> None:
    """Rows of a data set, and those with a single number as their label, are joined to batches."""
    items = list(read_items(Rows(), ModelInputs(("x",))))
    assert [item["x"].shape for item in items] == [(256, 3), (256, 3), (88, 3)]
    np.testing.assert_array_equal(np.concatenate([item["labels"] for item in items])[:, 1], np.arange(600))
    (item,) = read_items([(row, label) for row, label in zip(X, Y, strict=True)], ModelInputs(("x",)))
    np.testing.assert_array_equal(item["x"], X)
    np.testing.assert_array_equal(item["labels"], Y)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(np.ones(3), 0), (np.ones(4), 1)], r"rows of the data have shapes \(3,\) and \(4,\) for 'x'"),
        ([(np.ones(3), 0), {"x": np.ones(3), "mask": 1, "y": 1}], "rows of the data hold different names"),
    ],
)
def test_rows_that_differ(rows: list[Any], message: str) -> None:
    """Rows of other shapes or names than their neighbours can't be joined."""
    with pytest.raises(DataError, match=message):
        list(read_items(rows, ModelInputs(("x",), optional=("mask",))))


@pytest.mark.parametrize("key", ["labels", "label", "y", "label_ids"])
def test_usual_names_of_labels(key: str) -> None:
    """Labels in a mapping are found under each of their usual names."""
    assert list(ModelInputs(("x",)).bind({"x": X, key: Y})) == ["x", "labels"]


def test_labels_under_a_key() -> None:
    """The key that the user names is taken from each item; one that is not there is refused with those that are."""
    items = [{"x": X, "target": Y, "y": Z}]
    loader, labels = join_labels(items, "target")
    assert labels is None
    (item,) = read_items(loader, ModelInputs(("x",)))
    np.testing.assert_array_equal(item["labels"], Y)
    for data in (items, items[0]):
        with pytest.raises(DataError, match=r"holds 'x', 'target', 'y', and no 'targets'.*Pass one of these keys"):
            list(read_items(join_labels(data, "targets")[0], ModelInputs(("x",))))
    with pytest.raises(DataError, match="labels='y' was passed, and the data yield items of type tuple"):
        list(read_items(join_labels([(X, Y)], "y")[0], ModelInputs(("x",))))
