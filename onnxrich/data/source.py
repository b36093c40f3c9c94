"""Batches of rows named as the model's inputs, the source that yields them, and the items that it skips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice

# Names of skipped items that a notice lists at most.
_LISTED = 10


class SkippedItems:
    """Items that a pass skips because they can't be read, and notices about the data.

    Attributes:
        items: name and reason of each item that the current pass skipped.
        pass_notices: notices about the rows of the current pass.
        open_notices: notices from opening the data, which hold for every pass.
    """

    def __init__(self, max_errors: int = 0) -> None:
        self.items: list[tuple[str, str]] = []
        self.pass_notices: list[Notice] = []
        self.open_notices: list[Notice] = []
        self._max_errors = max_errors

    def begin_pass(self) -> None:
        """Forget the last pass: a new one begins at the first row."""
        self.items.clear()
        self.pass_notices.clear()

    def skip(self, name: str, reason: str) -> None:
        """Skip an item.

        Raises:
            DataError: when more items are skipped than the user allows.
        """
        self.items.append((name, reason))
        if len(self.items) > self._max_errors:
            allowed = f" (--max-errors allows {self._max_errors})" if self._max_errors else ""
            raise DataError(
                f"{name}: {reason}{allowed}",
                "items that can be read",
                "Fix or remove it, or pass --max-errors N to leave out up to N.",
            )

    def notices(self) -> list[Notice]:
        """Return the notices for a reader of the results; the last one names the skipped items."""
        notices = [*self.open_notices, *self.pass_notices]
        if self.items:
            names = ", ".join(name for name, _ in self.items[:_LISTED])
            more = f" and {len(self.items) - _LISTED} more" if len(self.items) > _LISTED else ""
            message = f"{len(self.items)} items could not be read and were left out: {names}{more}."
            notices.append(Notice("skipped_items", message))
        return notices


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive rows.

    Attributes:
        inputs: arrays by input name, in the model's dtypes, C order and native byte order.
        labels: array of shape (rows,) or (rows, K), None without labels.
        rows: number of rows.
        shared: names of inputs that have axes but no axis of rows: all rows share them.
        axes: the axis of samples in the model's inputs, by name, where it is not the first. `inputs` have it first.
    """

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None
    rows: int
    shared: frozenset[str] = frozenset()
    axes: Mapping[str, int] = field(default_factory=dict)

    @property
    def feed(self) -> dict[str, AnyArray]:
        """The inputs as the model takes them, with the samples along their own axis."""
        # An axis for all inputs is none of a scalar's.
        axes = {name: axis for name, axis in self.axes.items() if axis < self.inputs[name].ndim}
        moved = {name: np.ascontiguousarray(np.moveaxis(self.inputs[name], 0, axis)) for name, axis in axes.items()}
        return {**self.inputs, **moved}

    def take(self, index: slice | AnyArray) -> Batch:
        """Return the rows of an index."""
        inputs = {
            name: array[index] if array.ndim and name not in self.shared else array
            for name, array in self.inputs.items()
        }
        labels = None if self.labels is None else self.labels[index]
        return replace(self, inputs=inputs, labels=labels, rows=len(np.arange(self.rows)[index]))


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a source that are read without the others, always the same ones."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Source:
    """A source of batches.

    Attributes:
        name: name of the data for people.
        read: `read(shard, size)` yields the rows of a shard in batches of `size` rows, the last one shorter; shard None
            means all rows. Each call begins anew where `n` is known.
        n: number of rows, None for a stream, which has no shards.
        choice: which rows of the data are read, in words that are unique to the choice.
        classes: highest class index + 1, when labels are classes and were scanned.
        occurring: numbers of the classes that occur, ascending, where there are many classes and they were scanned.
        class_names: names of the classes in the order of their indices, where the data have them.
        preprocessing: steps that are applied to the rows and who declared them, JSON-able; None without any.
        synthetic: whether the rows are random numbers.
        ignores_labels: whether labels below zero mark rows to leave out, also where samples are rows.
        skipped: items that the current pass skipped.
    """

    name: str
    read: Callable[[Shard | None, int], Iterator[Batch]]
    n: int | None = None
    choice: str = "all"
    classes: int | None = None
    occurring: tuple[int, ...] | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None
    synthetic: bool = False
    ignores_labels: bool = False
    skipped: SkippedItems = field(default_factory=SkippedItems)

    def batches(self, size: int) -> Iterator[Batch]:
        """Begin a pass and yield all rows in batches."""
        self.skipped.begin_pass()
        return self.read(None, size)

    def shards(self, rows: int) -> tuple[Shard, ...]:
        """Split all rows into shards of `rows` rows; the last one may be shorter.

        Raises:
            DataError: for a stream.
        """
        if self.n is None:
            raise DataError(
                f"{self.name} is a stream of unknown length", "data that can be read from any row", "Save it to a file."
            )
        return tuple(Shard(start, min(start + rows, self.n)) for start in range(0, self.n, rows))


def find_non_finite_row(values: AnyArray) -> int | None:
    """Return the index of the first row with NaN or infinity, None when all values are finite.

    The sum of all values is finite in nearly every batch, and cheaper than a test of each value.
    """
    if values.dtype.kind != "f" or not values.size:
        return None
    with np.errstate(all="ignore"):
        if math.isfinite(float(values.sum())):
            return None
    rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    non_finite = ~np.isfinite(rows).all(axis=1)
    return int(non_finite.argmax()) if non_finite.any() else None
