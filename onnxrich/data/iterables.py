"""Any Python iterable of mappings from input name to array: batches as they come, cut to the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich.data.labels import KEYS, as_array, check_labels
from onnxrich.data.matching import InputBinding, ReadPlan, batch, bind_input, is_constant, recipe_for
from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import AnyArray, Field
from onnxrich.errors import DataError
from onnxrich.model.file import Input


@dataclass(frozen=True, eq=False)
class _Item:
    """One mapping of the iterable, or what was cut from some: arrays with rows, labels, and what all rows share."""

    arrays: Mapping[str, AnyArray]
    labels: AnyArray | None
    constants: Mapping[str, AnyArray]

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))

    def cut(self, start: int, stop: int) -> _Item:
        arrays = {name: array[start:stop] for name, array in self.arrays.items()}
        return _Item(arrays, None if self.labels is None else self.labels[start:stop], self.constants)


def check_pairs(data: Iterable[Any], inputs: tuple[Input, ...]) -> None:
    """Check that an iterable is none of rows and their labels: what is what has to be said by names.

    Raises:
        DataError: when it is a tuple of anything but batches, or a list of rows and one label each.
    """
    if not isinstance(data, tuple | list) or all(isinstance(item, Mapping) for item in data):
        return
    shapes = [getattr(item, "shape", ()) for item in data]
    # Two of one rank in a tuple may be rows and targets alike, as an autoencoder's are.
    least = 3 if isinstance(data, tuple) else 2
    alike = len(data) >= least and len(shapes[0]) > 0 and len({len(shape) for shape in shapes}) == 1
    if not alike and (isinstance(data, tuple) or (len(data) == 2 and len(shapes[0]) > len(shapes[1]) > 0)):
        raise DataError(
            f"data that are a {type(data).__name__} of {len(data)}",
            "rows and labels by name",
            f"Pass {_named(inputs)}, or the rows as data and labels=….",
        )


def _named(inputs: tuple[Input, ...]) -> str:
    """The mapping that rows of a model and their labels are passed as."""
    return "{" + ", ".join(f'"{name}": …' for name in [*(entry.name for entry in inputs), "labels"]) + "}"


def from_iterable(items: Iterable[Any], inputs: tuple[Input, ...], labels: str | None, wish: ReadPlan) -> Source:
    """A source over an iterable of mappings; a bare array fits a model with a single input.

    Args:
        items: yields mappings from input name to array; all arrays of one have the same number of rows.
        inputs: the model's inputs.
        labels: key of the labels in each mapping; a usual one is taken when it is there and is no input.
        wish: what is done to the rows, and how many are read.

    Raises:
        DataError: when rows are to be drawn at random, or are texts.
    """
    if wish.reading.shuffle or wish.reading.balanced:
        raise DataError(
            f"an iterable with {'--shuffle' if wish.reading.shuffle else '--balanced'}",
            "data that can be read from any row, such as a file or an array",
            "Draw the rows where the iterable is made, or save them to a file.",
        )
    if wish.reading.text is not None:
        raise DataError(
            "an iterable with --text",
            "data with a column of texts, such as a file",
            "Turn the texts into the model's inputs where the iterable is made.",
        )
    names = {entry.name for entry in inputs}
    keys = (labels,) if labels is not None else tuple(key for key in KEYS if key not in names)

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        read_ = (_item(item, inputs, keys, labels, wish) for item in items)
        for item in _recut(_limited(read_, wish.reading.limit), size):
            slots = tuple(InputBinding(entry, (entry.name,), entry.name in item.constants) for entry in inputs)
            yield batch({**item.arrays, **item.constants}, item.labels, slots, item.rows)

    recipe = next(
        (recipe for entry in inputs if (recipe := recipe_for(entry, _byte_field(entry), inputs, wish.said))), None
    )
    choice = wish.reading.choice(wish.seed)
    return Source(
        "iterable", read, choice=choice, preprocessing=recipe.record() if recipe else None, ledger=wish.ledger
    )


def _byte_field(entry: Input) -> Field:
    return Field(entry.name, np.dtype(np.uint8), ())


def _limited(items: Iterator[_Item], limit: int | None) -> Iterator[_Item]:
    if limit is None:
        yield from items
        return
    for item in items:
        yield item.cut(0, limit)
        limit -= min(limit, item.rows)
        # Before the next item is taken: an iterable may have no end, or none that is to be waited for.
        if not limit:
            return


def _item(item: Any, inputs: tuple[Input, ...], keys: tuple[str, ...], asked: str | None, wish: ReadPlan) -> _Item:
    item = _by_name(item, inputs, "" if asked is not None or not keys else keys[0])
    missing = [entry.name for entry in inputs if entry.name not in item]
    if asked is not None and asked not in item:
        missing.append(asked)
    if missing:
        raise DataError(
            f"an item with {', '.join(repr(key) for key in item) or 'nothing'}",
            ", ".join(repr(name) for name in missing),
            "Yield dicts from input name to array.",
        )
    arrays: dict[str, AnyArray] = {}
    constants: dict[str, AnyArray] = {}
    for entry in inputs:
        array = as_array(entry.name, item[entry.name])
        made = bind_input(entry, (Field(entry.name, array.dtype, array.shape),), inputs, wish.said)
        constant = made.constant or is_constant(entry, array.shape, inputs)
        (constants if constant else arrays)[entry.name] = made.load({entry.name: array})
    labels = next((as_array(key, item[key]) for key in keys if key in item), None)
    if labels is not None:
        _check_numbers(labels)
        check_labels(next(key for key in keys if key in item), labels.dtype, labels.shape)
    counts = {len(array) for array in arrays.values()} | ({len(labels)} if labels is not None else set())
    if not arrays or len(counts) != 1:
        raise DataError(
            f"an item with {' and '.join(map(str, sorted(counts))) if arrays else 'no'} rows",
            "the same number in each array",
            "Check the iterable.",
        )
    return _Item(arrays, labels, constants)


def _by_name(item: Any, inputs: tuple[Input, ...], key: str) -> Mapping[str, Any]:
    """An item as a mapping. What is what in one without names is taken where it can be one thing alone, never guessed.

    Args:
        item: a mapping, an array, or a pair of rows and classes, as loaders of frameworks yield them.
        inputs: the model's inputs: arrays and pairs feed the only one.
        key: of the classes, empty where they were asked for by a name, which a pair has not.
    """
    if isinstance(item, Mapping):
        return item
    several = isinstance(item, tuple) or (isinstance(item, list) and any(hasattr(each, "shape") for each in item))
    if len(inputs) == 1 and not several:
        return {inputs[0].name: item}
    if len(inputs) == 1 and key and _is_pair(item, inputs[0]):
        return {inputs[0].name: item[0], key: item[1]}
    pair = ", or a pair of its rows and their integer classes" if len(inputs) == 1 else ""
    raise DataError(
        f"an item of type {type(item).__name__}",
        f"a mapping with {', '.join(repr(entry.name) for entry in inputs)}{pair}",
        f"Yield dicts from input name to array, and the labels beside them: {_named(inputs)}.",
    )


def _is_pair(item: Sequence[Any], entry: Input) -> bool:
    """Whether two arrays can only be rows of an input, and a class for each."""
    if len(item) != 2 or entry.shape is None or not all(hasattr(each, "shape") for each in item):
        return False
    rows, classes = (as_array(entry.name, each) for each in item)
    ranks = (rows.ndim, classes.ndim) == (len(entry.shape), 1)
    return ranks and classes.dtype.kind in "iu" and len(rows) == len(classes)


def _check_numbers(labels: AnyArray) -> None:
    """Words are numbered by the place of each among all, which nobody knows before a stream has ended."""
    if labels.size and labels.dtype.kind in "OU" and isinstance(word := labels.reshape(-1)[0], str):
        raise DataError(
            f"words as labels in an iterable, such as {str(word)!r}",
            "the number of each class, in the order of the model's outputs",
            "Yield NAMES.index(word), or pass the data as one mapping or file, where words are numbered.",
        )


def _recut(items: Iterator[_Item], size: int) -> Iterator[_Item]:
    """Items of any number of rows, cut and joined to `size` rows each; the last may be shorter."""
    held: list[_Item] = []
    rows = 0
    first: _Item | None = None
    for item in items:
        first = first or item
        _check_alike(first, item)
        if item.rows:
            held.append(item)
            rows += item.rows
        # Joined once for each batch, not once for each item: an item may be a single row.
        if rows < size:
            continue
        joined = _join(held)
        whole = rows - rows % size
        for start in range(0, whole, size):
            yield joined.cut(start, start + size)
        rows -= whole
        held = [joined.cut(whole, whole + rows)] if rows else []
    if held:
        yield _join(held)


def _check_alike(first: _Item, item: _Item) -> None:
    if (first.labels is None) != (item.labels is None):
        raise DataError("items with labels and without", "labels in all or in none", "Check the iterable.")
    for name, value in item.constants.items():
        if name not in first.constants or not np.array_equal(value, first.constants[name]):
            raise DataError(
                f"items with different values for {name!r}, which has no axis of rows",
                "the same value in all",
                "Analyse the items apart.",
            )


def _join(parts: list[_Item]) -> _Item:
    if len(parts) == 1:
        return parts[0]
    names = parts[0].arrays
    arrays = {name: _concatenate(name, [part.arrays[name] for part in parts]) for name in names}
    labels = [part.labels for part in parts if part.labels is not None]
    return _Item(arrays, _concatenate("labels", labels) if labels else None, parts[0].constants)


def _concatenate(name: str, arrays: list[AnyArray]) -> AnyArray:
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) != 1:
        raise DataError(
            f"items with rows of shapes {' and '.join(map(str, shapes))} for {name!r}",
            "rows of one shape within a batch",
            "Pad them to the same shape, or yield items of --batch-size rows each.",
        )
    return np.concatenate(arrays)
