"""Iterables of mappings: what each item must hold, and how items are joined."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError

X = np.arange(240, dtype=np.float32).reshape(40, 6)
TWO = build("h = Add(x, b)", x="float[N,6] x, float[N,6] b", y="float[N,6] h")
SCALAR = build("h = Mul(x, t)", x="float[N,6] x, float t", y="float[N,6] h")
FREE_RANK = build("h = Relu(x)", x="float[] x", y="float[] h")
CLASSES = np.arange(40) % 3
FREE = build("h = Relu(x)", x="float[N,T] x", y="float[N,T] h")


@given(cuts=st.lists(st.integers(0, 40), max_size=12), size=st.integers(1, 50))
def test_any_cut_gives_the_same_rows(cuts: list[int], size: int) -> None:
    """However rows are spread over items, empty ones included, the batches are the same."""
    edges = [0, *sorted(cuts), 40]
    items = [{"x": X[a:b], "y": np.arange(a, b)} for a, b in pairwise(edges)]
    rows, labels = read_all(source_of(two_layers(), items), size)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(labels, np.arange(40))


def test_inputs_that_are_named_as_labels_are() -> None:
    """A model may have inputs of all names that labels usually have: then there are none by themselves."""
    named = build("s = Add(labels, label)\n h = Add(s, y)", x="float[N,6] labels, float[N,6] label, float[N,6] y",
                  y="float[N,6] h")  # fmt: skip
    rows, labels = read_all(source_of(named, [dict.fromkeys(("labels", "label", "y"), X)]), 40)
    assert labels is None and set(rows) == {"labels", "label", "y"}


def test_read_as_it_is_used() -> None:
    """Items are taken when a batch needs them, not before: an iterable may be longer than memory, or endless."""
    count = 0

    def items() -> Iterator[dict[str, np.ndarray]]:
        nonlocal count
        while True:
            count += 1
            yield {"x": X[:10]}

    batches = source_of(two_layers(), items()).batches(25)
    next(batches)
    assert count == 3
    next(batches)
    assert count == 5


def test_many_small_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come one by one are joined once for each batch: the work grows with the rows, not with their square."""
    moved = 0
    concatenate = np.concatenate

    def counting(arrays: Any, *args: Any, **options: Any) -> Any:
        nonlocal moved
        moved += sum(len(array) for array in arrays)
        return concatenate(arrays, *args, **options)

    batches = source_of(two_layers(), [X[:1]] * 1000).batches(100)
    monkeypatch.setattr(np, "concatenate", counting)
    assert sum(batch.rows for batch in batches) == 1000
    assert moved == 1000


def test_rows_of_different_shapes() -> None:
    """Items as long as a batch may differ in their free dimensions; within a batch they may not."""
    items = [np.zeros((4, 5), np.float32), np.ones((4, 7), np.float32)]
    assert [batch.inputs["x"].shape for batch in source_of(FREE, items).batches(4)] == [(4, 5), (4, 7)]
    with refused(
        DataError,
        "the iterable yields rows of shapes (5,) and (7,) for 'x'; needed: rows of one shape within a batch. "
        "Pad them to the same shape, or yield items of --batch-size rows each.",
    ):
        list(source_of(FREE, items).batches(3))


@pytest.mark.parametrize(
    ("proto", "item", "message"),
    [
        (TWO, {"x": X}, "the iterable yields an item with 'x'; needed: 'b'. Yield dicts from input name to array."),
        (TWO, {}, "the iterable yields an item with nothing; needed: 'x', 'b'. Yield dicts from input name to array."),
        (TWO, X, "the iterable yields an item of type ndarray; needed: a mapping with 'x', 'b'. Yield dicts "
                 "from input name to array,"),
        (TWO, (X, X), "the iterable yields an item of type tuple; needed: a mapping with 'x', 'b'."),
        (TWO, {"x": X, "b": X[:9]}, "the iterable yields an item with 9 and 40 rows; needed: the same number in "
                                    "each array. Check the it"),
        (TWO, {"x": X, "b": X, "y": [1, 2]}, "the iterable yields an item with 2 and 40 rows; needed: the same "
                                             "number in each array."),
        (
            two_layers(), (X, X[:, 0]), "the iterable yields an item of type tuple; needed: a mapping with 'x', "
                                        "or a pair of its rows and "
            "their integer classes. Yield dicts from input name to array, and the labels beside them: "
            '{"x": …, "labels": …}.',
        ),
        *((two_layers(), kind(item), f"the iterable yields an item of type {kind.__name__}; needed: a mapping "
                                     f"with 'x', or a pair of")
          for kind in (tuple, list) for item in (
              (X, X), (X, CLASSES[:39]), (X, CLASSES[:, None]), (X, CLASSES > 3), (CLASSES, X), (X[0], CLASSES),
              (X, CLASSES, CLASSES), (X, CLASSES.astype(float)), (X[0], CLASSES[:6]))),
        (two_layers(), (X, CLASSES.tolist()), "the iterable yields an item of type tuple; needed: a mapping "
                                              "with 'x', or a pair of"),
        (two_layers(), (X[:, :5], CLASSES), "input 'x' gets data of shape 40 × 5; needed: shape N × 6."),
        (FREE_RANK, (X, CLASSES), "the iterable yields an item of type tuple; needed: a mapping with 'x', or a "
                                  "pair of"),
        (TWO, (X, CLASSES), "the iterable yields an item of type tuple; needed: a mapping with 'x', 'b'. Yield"),
        (two_layers(), X[0].tolist(), "input 'x' gets data of shape 6; needed: shape N × 6."),
        (two_layers(), {"z": X}, "the iterable yields an item with 'z'; needed: 'x'."),
        (two_layers(), 3.0, "input 'x' gets data of shape (); needed: shape N × 6."),
        (two_layers(), "word", "input 'x' gets <U4 data; needed: float32."),
        (two_layers(), None, "input 'x' gets object data; needed: float32."),
    ],
)  # fmt: skip
def test_items_that_do_not_fit(proto: Any, item: Any, message: str) -> None:
    """An item without all inputs, or with arrays of different length, is refused with what it holds."""
    with refused(DataError, message):
        list(source_of(proto, [item]).batches(4))


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_pairs_of_rows_and_classes(kind: Any, dtype: Any) -> None:
    """Rows and a class for each, as loaders yield them, can be one thing alone for a model of one input."""
    items = (kind((X[start : start + 9], CLASSES[start : start + 9].astype(dtype))) for start in range(0, 40, 9))
    rows, labels = read_all(source_of(two_layers(), items), 7)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(labels, CLASSES)


def test_pairs_have_no_names() -> None:
    """Labels that are asked for by name are no part of a pair."""
    with refused(DataError, "the iterable yields an item of type tuple; needed: a mapping with 'x'"):
        list(source_of(two_layers(), iter([(X, CLASSES)]), "digits").batches(4))


class Tensor:
    """What is no array of NumPy, and becomes one, as tensors of frameworks do."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape = array, list(array.shape)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return self._array


def test_pairs_of_tensors() -> None:
    """Loaders of frameworks yield their own tensors."""
    rows, labels = read_all(source_of(two_layers(), iter([[Tensor(X), Tensor(CLASSES)]])), 7)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(labels, CLASSES)


@pytest.mark.parametrize("labels", [None, np.arange(40)])
@pytest.mark.parametrize("data", [(X, np.arange(40)), [X, np.arange(40)], (X,), (X, None)])
def test_rows_and_labels_without_names(data: Any, labels: Any) -> None:
    """A pair of rows and labels is told from batches, and the message says how to pass it."""
    with refused(
        DataError,
        f"the data are a {type(data).__name__} of {len(data)}; needed: rows and labels by name. Pass "
        '{"x": …, "labels": …}, or the rows as data and labels=….',
    ):
        source_of(two_layers(), data, labels)
    both = source_of(two_layers(), {"x": X, "labels": np.arange(40)})
    np.testing.assert_array_equal(read_all(both, 7)[1], np.arange(40))


@pytest.mark.parametrize("batches", [(X[:9], X[9:20], X[20:]), [X[:30].tolist(), X[30:].tolist()]])
def test_arrays_in_memory(batches: Any) -> None:
    """Arrays of rows in a tuple or list are batches, and so are nested lists."""
    np.testing.assert_array_equal(read_all(source_of(two_layers(), batches), 7)[0]["x"], X)


@pytest.mark.parametrize("kind", [tuple, list])
def test_batches_in_memory(kind: Any) -> None:
    """Mappings in a tuple or list are batches, and so are arrays in a list."""
    for items in (kind([{"x": X[:9]}, {"x": X[9:]}]), [X[:9], X[9:]]):
        np.testing.assert_array_equal(read_all(source_of(two_layers(), items), 7)[0]["x"], X)


def test_errors_come_at_their_item() -> None:
    """What can be given before a bad item is given."""
    batches = source_of(two_layers(), [X[:4], X[4:8], X[:, :5]]).batches(4)
    assert next(batches).rows == 4
    assert next(batches).rows == 4
    with refused(DataError, "input 'x' gets data of shape 40 × 5"):
        next(batches)


@pytest.mark.parametrize("labels", [[True, False], [False, True]])
def test_labels_in_some(labels: list[bool]) -> None:
    """Labels in some items and not in others are refused."""
    items = [{"x": X, "y": np.arange(40)} if has else {"x": X} for has in labels]
    with refused(
        DataError,
        "the iterable yields items with labels and items without; needed: labels in all or in none. Check the "
        "iterable.",
    ):
        list(source_of(two_layers(), items).batches(64))


def test_labels_of_different_shapes() -> None:
    """Labels of one axis and of two can't be joined."""
    items = [{"x": X, "y": np.zeros(40)}, {"x": X, "y": np.zeros((40, 2))}]
    with refused(DataError, "the iterable yields rows of shapes () and (2,) for 'labels'"):
        list(source_of(two_layers(), items).batches(64))


def test_scalars_that_differ() -> None:
    """An input without rows must be the same in all items: batches are cut across them."""
    items = [{"x": X, "t": 1.0}, {"x": X, "t": 2.0}]
    with refused(
        DataError,
        "the iterable yields different values for 't', which has no axis of rows; needed: the same value in all. "
        "Analyse the items apart.",
    ):
        list(source_of(SCALAR, items).batches(64))


def test_only_scalars() -> None:
    """An item in which nothing has rows is refused."""
    proto = build("h = Mul(s, t)", x="float s, float t", y="float h")
    with refused(DataError, "the iterable yields an item with no rows; needed: the same number in each array."):
        list(source_of(proto, [{"s": 1.0, "t": 2.0}]).batches(4))


def test_own_exceptions_pass() -> None:
    """What the user's iterable raises is the user's: it is not wrapped."""

    def items() -> Iterator[np.ndarray]:
        yield X
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(source_of(two_layers(), items()).batches(64))


def test_a_pair_of_one_rank_is_refused() -> None:
    """The targets of an autoencoder are no further rows."""
    with refused(DataError, "the data are a tuple of 2"):
        source_of(two_layers(), (X, X + 1))
