"""What every source gives: batches of arrays, named as the model's inputs, with their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice, printable

# Names that a notice lists.
LISTED = 10


class SkippedItems:
    """Counts the items that are left out, and stops at one more than the user allows.

    Attributes:
        skipped: names of the items of this pass, each with the reason.
        doubts: what looks wrong with the rows of this pass.
        known: what was known of the data before any pass.
    """

    def __init__(self, max_errors: int = 0) -> None:
        self.skipped: list[tuple[str, str]] = []
        self.doubts: list[Notice] = []
        self.known: list[Notice] = []
        self._max_errors = max_errors

    def begin(self) -> None:
        """A pass begins at the first row."""
        self.skipped.clear()
        self.doubts.clear()

    def skip(self, name: str, reason: str) -> None:
        """Leave an item out.

        Raises:
            DataError: when that is one more than is allowed.
        """
        self.skipped.append((name, reason))
        if len(self.skipped) > self._max_errors:
            allowed = f" ({self._max_errors} such allowed)" if self._max_errors else ""
            raise DataError(
                f"{name}: {reason}{allowed}",
                "items that can be read",
                "Mend or remove it, or pass --max-errors N to leave out up to N.",
            )

    def notices(self) -> list[Notice]:
        """What a reader of the results should know: doubts, and what was left out."""
        if not self.skipped:
            return [*self.known, *self.doubts]
        names = ", ".join(printable(name) for name, _ in self.skipped[:LISTED])
        more = f" and {len(self.skipped) - LISTED} more" if len(self.skipped) > LISTED else ""
        message = f"{len(self.skipped)} items could not be read and were left out: {names}{more}."
        return [*self.known, *self.doubts, Notice("skipped_items", message)]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some consecutive rows.

    Attributes:
        inputs: arrays by input name, in the model's dtypes, C order and native byte order.
        labels: array of shape (rows,) or (rows, K), None without labels.
        rows: number of rows.
        shared: names of the inputs that have axes, but none of rows, and are the same for all of them.
    """

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None
    rows: int
    shared: frozenset[str] = frozenset()

    def take(self, index: slice | AnyArray) -> Batch:
        """The rows of an index."""
        inputs = {
            name: array[index] if array.ndim and name not in self.shared else array
            for name, array in self.inputs.items()
        }
        labels = None if self.labels is None else self.labels[index]
        return replace(self, inputs=inputs, labels=labels, rows=len(np.arange(self.rows)[index]))


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a source, which can be read without the others: the same ones whenever and wherever."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Source:
    """A source of batches.

    Attributes:
        name: as a person would name it.
        read: gives batches of a size of the rows of a shard, the last one shorter: `read(shard, size)`; None stands for
            all rows. Each call begins anew where `n` is known.
        n: number of rows, None for a stream, which has no shards.
        choice: which of the rows of the data these are, in words that another choice doesn't share.
        classes: highest class index + 1, when labels are classes and were looked through.
        class_names: names of the classes, in the order of their indices, where the data have them.
        preprocessing: what is done to the rows and who declared it, JSON-able; None: nothing.
        synthetic: whether the rows are made up.
        ledger: what the last pass could not read.
    """

    name: str
    read: Callable[[Shard | None, int], Iterator[Batch]]
    n: int | None = None
    choice: str = "all"
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: Mapping[str, Any] | None = None
    synthetic: bool = False
    ledger: SkippedItems = field(default_factory=SkippedItems)

    def batches(self, size: int) -> Iterator[Batch]:
        """Batches of all rows."""
        self.ledger.begin()
        return self.read(None, size)

    def shards(self, rows: int) -> tuple[Shard, ...]:
        """All rows in shards of so many rows; the last may be shorter.

        Raises:
            DataError: for a stream.
        """
        if self.n is None:
            raise DataError(
                f"{self.name}, a stream of unknown length", "data that can be read from any row", "Save it to a file."
            )
        return tuple(Shard(start, min(start + rows, self.n)) for start in range(0, self.n, rows))


def not_finite(values: AnyArray) -> int | None:
    """Index of the first row that holds NaN or infinity, None when all are finite. A sum is the quick first look."""
    if values.dtype.kind != "f" or not values.size:
        return None
    with np.errstate(all="ignore"):
        if math.isfinite(float(values.sum())):
            return None
    bad = ~np.isfinite(values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)).all(axis=1)
    return int(bad.argmax()) if bad.any() else None
