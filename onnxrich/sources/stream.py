"""Any Python iterable of mappings from input name to array: batches as they come, cut to the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.model import Input
from onnxrich.sources.base import AnyArray, Batch, Source, batch, check

LABEL_KEYS = ("labels", "y")


def from_iterable(items: Iterable[Any], inputs: tuple[Input, ...], labels: str | None) -> Source:
    """A source over an iterable of mappings; a bare array fits a model with a single input.

    Args:
        items: yields mappings from input name to array; all arrays of one have the same number of rows.
        inputs: the model's inputs.
        labels: key of the labels in each mapping; "labels" or "y" is taken when it is there and is no input.
    """
    names = {entry.name for entry in inputs}
    keys = (labels,) if labels is not None else tuple(key for key in LABEL_KEYS if key not in names)

    def batches(size: int) -> Iterator[Batch]:
        for arrays, marks in _recut((_item(item, inputs, keys, labels) for item in items), size):
            rows = len(next(iter(arrays.values())))
            yield batch(arrays, marks, inputs, rows)

    return Source("iterable", batches)


def _item(
    item: Any, inputs: tuple[Input, ...], keys: tuple[str, ...], asked: str | None
) -> tuple[dict[str, AnyArray], AnyArray | None]:
    if not isinstance(item, Mapping):
        if len(inputs) != 1:
            raise DataError(
                f"an item of type {type(item).__name__}",
                f"a mapping with {', '.join(repr(entry.name) for entry in inputs)}",
                "Yield dicts from input name to array.",
            )
        item = {inputs[0].name: item}
    missing = [entry.name for entry in inputs if entry.name not in item]
    if missing or (asked is not None and asked not in item):
        raise DataError(
            f"an item with {', '.join(repr(key) for key in item)}",
            ", ".join(repr(name) for name in [*missing, *([asked] if asked is not None else [])]),
            "Yield dicts from input name to array.",
        )
    arrays = {entry.name: np.asarray(item[entry.name]) for entry in inputs}
    for entry in inputs:
        check(entry, arrays[entry.name].dtype, arrays[entry.name].shape)
    marks = next((np.asarray(item[key]) for key in keys if key in item), None)
    counts = {len(array) for array in arrays.values()} | ({len(marks)} if marks is not None else set())
    if len(counts) != 1:
        raise DataError(f"an item with {sorted(counts)} rows", "the same number in each array", "Check the iterable.")
    return arrays, marks


def _recut(
    items: Iterator[tuple[dict[str, AnyArray], AnyArray | None]], size: int
) -> Iterator[tuple[dict[str, AnyArray], AnyArray | None]]:
    """Items of any number of rows, cut and joined to `size` rows each; the last may be shorter."""
    held: dict[str, AnyArray] | None = None
    marks: AnyArray | None = None
    for arrays, labels in items:
        if held is None:
            held, marks = arrays, labels
        else:
            if (labels is None) != (marks is None):
                raise DataError("items with labels and without", "labels in all or in none", "Check the iterable.")
            held = {key: np.concatenate([held[key], arrays[key]]) for key in held}
            marks = None if marks is None or labels is None else np.concatenate([marks, labels])
        rows = len(next(iter(held.values())))
        whole = rows - rows % size
        for start in range(0, whole, size):
            cut = slice(start, start + size)
            yield {key: array[cut] for key, array in held.items()}, None if marks is None else marks[cut]
        held = {key: array[whole:] for key, array in held.items()}
        marks = None if marks is None else marks[whole:]
    if held is not None and len(next(iter(held.values()))):
        yield held, marks
