"""Iterables of mappings from input name to array: their items cut and joined to batches of the requested size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich.data.labels import KEYS, check_has_labels, check_labels, mark_ignored
from onnxrich.data.matching import InputBinding, ReadPlan, bind_input, is_constant, make_batch, preprocessing_for
from onnxrich.data.missing import Filling, filled_notices, plan_fillings
from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import AnyArray, Field, to_array
from onnxrich.errors import DataError
from onnxrich.model.file import Input


@dataclass(frozen=True, eq=False)
class _Item:
    """One item of the iterable, or rows of several.

    Attributes:
        arrays: arrays with rows, by input name.
        labels: labels of the rows, None without any.
        constants: arrays that all rows share, by input name.
    """

    arrays: Mapping[str, AnyArray]
    labels: AnyArray | None
    constants: Mapping[str, AnyArray]

    @property
    def rows(self) -> int:
        return len(next(iter(self.arrays.values())))

    def slice(self, start: int, stop: int) -> _Item:
        arrays = {name: array[start:stop] for name, array in self.arrays.items()}
        return _Item(arrays, None if self.labels is None else self.labels[start:stop], self.constants)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads items.

    Attributes:
        inputs: the model's inputs.
        keys: keys under which labels may stand; only the requested one where the user named it.
        requested: key that the user named, None without.
        plan: preprocessing and number of rows.
    """

    inputs: tuple[Input, ...]
    keys: tuple[str, ...]
    requested: str | None
    plan: ReadPlan

    def read(self, item: Any) -> _Item:
        """Check and convert one item.

        Raises:
            DataError: when an array is missing, doesn't fit its input, or has another number of rows.
        """
        item = self._to_mapping(item)
        fillings = plan_fillings(self.inputs, item)
        filled = {filling.entry.name for filling in fillings}
        missing = [entry.name for entry in self.inputs if entry.name not in item and entry.name not in filled]
        if self.requested is not None and self.requested not in item:
            missing.append(self.requested)
        if missing:
            raise DataError(
                f"the iterable yields an item with {', '.join(repr(key) for key in item) or 'nothing'}",
                ", ".join(repr(name) for name in missing),
                "Yield dicts from input name to array.",
            )
        arrays: dict[str, AnyArray] = {}
        constants: dict[str, AnyArray] = {}
        for entry in (entry for entry in self.inputs if entry.name not in filled):
            array = to_array(entry.name, item[entry.name])
            if 0 < entry.batch_axis < array.ndim:
                array = np.moveaxis(array, entry.batch_axis, 0)
            field = Field(entry.name, array.dtype, array.shape)
            binding = bind_input(entry, (field,), self.inputs, self.plan.declared)
            constant = binding.constant or is_constant(entry, array.shape, self.inputs)
            (constants if constant else arrays)[entry.name] = binding.load({entry.name: array})
        labels = self._read_labels(item)
        counts = {len(array) for array in arrays.values()} | ({len(labels)} if labels is not None else set())
        if not arrays or len(counts) != 1:
            raise DataError(
                f"the iterable yields an item with {' and '.join(map(str, sorted(counts))) if arrays else 'no'} rows",
                "the same number in each array",
                "Check the iterable.",
            )
        return self._fill(_Item(arrays, labels, constants), fillings)

    def _fill(self, item: _Item, fillings: tuple[Filling, ...]) -> _Item:
        """Fill in the inputs that an item lacks."""
        notices = self.plan.skipped.open_notices
        notices += [notice for notice in filled_notices(fillings) if notice not in notices]
        made = {each.entry.name: each.make(item.arrays, item.rows) for each in fillings}
        shared = {each.entry.name for each in fillings if each.shared or not made[each.entry.name].ndim}
        arrays = {name: array for name, array in made.items() if name not in shared}
        constants = {name: made[name] for name in shared}
        return _Item({**item.arrays, **arrays}, item.labels, {**item.constants, **constants})

    def _read_labels(self, item: Mapping[str, Any]) -> AnyArray | None:
        key = next((key for key in self.keys if key in item), None)
        check_has_labels(self.plan.ignored_label, has_labels=key is not None)
        if key is None:
            return None
        labels = to_array(key, item[key])
        # The number of a word depends on all words, which are unknown before a stream ends.
        if labels.size and labels.dtype.kind in "OU" and isinstance(word := labels.reshape(-1)[0], str):
            raise DataError(
                f"the iterable yields words as labels, such as {str(word)!r}",
                "the number of each class, in the order of the model's outputs",
                "Yield NAMES.index(word), or pass the data as one mapping or file, where words are numbered.",
            )
        check_labels(key, labels.dtype, labels.shape, self.plan.ignored_label)
        return mark_ignored(labels, self.plan.ignored_label, key)

    def _to_mapping(self, item: Any) -> Mapping[str, Any]:
        """Return an item as a mapping; without names, only where its meaning is unambiguous.

        An item without names is an array that feeds the only input, or a pair of its rows and their classes, as
        loaders of frameworks yield them.
        """
        if isinstance(item, Mapping):
            return item
        inputs = self.inputs
        key = self.keys[0] if self.requested is None and self.keys else ""
        has_several = isinstance(item, tuple) or (isinstance(item, list) and any(hasattr(v, "shape") for v in item))
        if len(inputs) == 1 and not has_several:
            return {inputs[0].name: item}
        if len(inputs) == 1 and key and _is_pair(item, inputs[0]):
            return {inputs[0].name: item[0], key: item[1]}
        pair = ", or a pair of its rows and their integer classes" if len(inputs) == 1 else ""
        raise DataError(
            f"the iterable yields an item of type {type(item).__name__}",
            f"a mapping with {', '.join(repr(entry.name) for entry in inputs)}{pair}",
            f"Yield dicts from input name to array, and the labels beside them: {_example_mapping(inputs)}.",
        )


def source_from_iterable(items: Iterable[Any], inputs: tuple[Input, ...], labels: str | None, plan: ReadPlan) -> Source:
    """Return the source of an iterable of mappings; bare arrays feed a model with a single input.

    Args:
        items: yields mappings from input name to array; all arrays of one have the same number of rows.
        inputs: the model's inputs.
        labels: key of the labels in each mapping; None: a usual key that is no input.
        plan: preprocessing and number of rows.

    Raises:
        DataError: when rows are to be drawn at random, or are texts.
    """
    if plan.selection.shuffle or plan.selection.balanced:
        raise DataError(
            f"an iterable can't be read with {'--shuffle' if plan.selection.shuffle else '--balanced'}",
            "data that can be read from any row, such as a file or an array",
            "Draw the rows where the iterable is made, or save them to a file.",
        )
    if plan.selection.text is not None:
        raise DataError(
            "an iterable can't be read with --text",
            "data with a column of texts, such as a file",
            "Turn the texts into the model's inputs where the iterable is made.",
        )
    names = {entry.name for entry in inputs}
    keys = (labels,) if labels is not None else tuple(key for key in KEYS if key not in names)
    reader = _Reader(inputs, keys, labels, plan)

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        for item in _cut_and_join(_limit_rows(map(reader.read, items), plan.selection.limit), size):
            bindings = tuple(InputBinding(entry, (entry.name,), entry.name in item.constants) for entry in inputs)
            yield make_batch({**item.arrays, **item.constants}, item.labels, bindings, item.rows)

    return Source(
        "iterable",
        read,
        choice=plan.choice,
        preprocessing=_describe_for_bytes(inputs, plan),
        ignores_labels=plan.ignored_label is not None,
        skipped=plan.skipped,
    )


def _describe_for_bytes(inputs: tuple[Input, ...], plan: ReadPlan) -> Mapping[str, Any] | None:
    """Return the preprocessing that would be applied to bytes: the type of the arrays is unknown before they come."""
    for entry in inputs:
        field = Field(entry.name, np.dtype(np.uint8), ())
        preprocessing = preprocessing_for(entry, field, inputs, plan.declared)
        if preprocessing is not None:
            return preprocessing.to_dict()
    return None


def check_no_pair(data: Iterable[Any], inputs: tuple[Input, ...]) -> None:
    """Refuse rows and their labels without names, in a tuple or a list.

    Raises:
        DataError: when the data are a tuple of anything but batches, or a list of rows and one label for each.
    """
    if not isinstance(data, tuple | list) or all(isinstance(item, Mapping) for item in data):
        return
    shapes = [getattr(item, "shape", ()) for item in data]
    # A tuple of two arrays of one rank may be rows and targets, as those of an autoencoder are.
    least = 3 if isinstance(data, tuple) else 2
    are_batches = len(data) >= least and len(shapes[0]) > 0 and len({len(shape) for shape in shapes}) == 1
    if not are_batches and (isinstance(data, tuple) or (len(data) == 2 and len(shapes[0]) > len(shapes[1]) > 0)):
        raise DataError(
            f"the data are a {type(data).__name__} of {len(data)}",
            "rows and labels by name",
            f"Pass {_example_mapping(inputs)}, or the rows as data and labels=….",
        )


def _example_mapping(inputs: tuple[Input, ...]) -> str:
    """Return the mapping that holds the rows of a model and their labels, as text."""
    return "{" + ", ".join(f'"{name}": …' for name in [*(entry.name for entry in inputs), "labels"]) + "}"


def _is_pair(item: Sequence[Any], entry: Input) -> bool:
    """Tell whether two arrays can only be rows of an input, and a class for each."""
    if len(item) != 2 or entry.shape is None or not all(hasattr(array, "shape") for array in item):
        return False
    rows, classes = (to_array(entry.name, array) for array in item)
    has_ranks = (rows.ndim, classes.ndim) == (len(entry.shape), 1)
    return has_ranks and classes.dtype.kind in "iu" and len(rows) == len(classes)


def _limit_rows(items: Iterator[_Item], limit: int | None) -> Iterator[_Item]:
    if limit is None:
        yield from items
        return
    for item in items:
        yield item.slice(0, limit)
        limit -= min(limit, item.rows)
        # Stop before the next item: the iterable may have no end, or block for long.
        if not limit:
            return


def _cut_and_join(items: Iterator[_Item], size: int) -> Iterator[_Item]:
    """Cut and join items of any number of rows to `size` rows each; the last may be shorter."""
    pending: list[_Item] = []
    rows = 0
    first: _Item | None = None
    for item in items:
        first = first or item
        _check_consistent(first, item)
        if item.rows:
            pending.append(item)
            rows += item.rows
        # Join once for each batch, not once for each item: an item may be a single row.
        if rows < size:
            continue
        joined = _join(pending)
        complete = rows - rows % size
        for start in range(0, complete, size):
            yield joined.slice(start, start + size)
        rows -= complete
        pending = [joined.slice(complete, complete + rows)] if rows else []
    if pending:
        yield _join(pending)


def _check_consistent(first: _Item, item: _Item) -> None:
    if (first.labels is None) != (item.labels is None):
        raise DataError(
            "the iterable yields items with labels and items without", "labels in all or in none", "Check the iterable."
        )
    for name, value in item.constants.items():
        if name not in first.constants or not np.array_equal(value, first.constants[name]):
            raise DataError(
                f"the iterable yields different values for {name!r}, which has no axis of rows",
                "the same value in all",
                "Analyse the items apart.",
            )


def _join(items: list[_Item]) -> _Item:
    if len(items) == 1:
        return items[0]
    arrays = {name: _concatenate(name, [item.arrays[name] for item in items]) for name in items[0].arrays}
    labels = [item.labels for item in items if item.labels is not None]
    return _Item(arrays, _concatenate("labels", labels) if labels else None, items[0].constants)


def _concatenate(name: str, arrays: list[AnyArray]) -> AnyArray:
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) != 1:
        raise DataError(
            f"the iterable yields rows of shapes {' and '.join(map(str, shapes))} for {name!r}",
            "rows of one shape within a batch",
            "Pad them to the same shape, or yield items of --batch-size rows each.",
        )
    return np.concatenate(arrays)
