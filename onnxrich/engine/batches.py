"""How rows are cut into batches for a model: sizes, padding, and a look at values that are not finite."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from onnxrich.data.fingerprint import Fingerprint
from onnxrich.data.source import Batch, Source, find_non_finite_row
from onnxrich.errors import DataError
from onnxrich.progress import Timing


def padded(batch: Batch, size: int) -> Batch:
    """The batch with its last sample repeated up to a size."""
    return batch.take(np.minimum(np.arange(size), batch.rows - 1))


def pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """The batch cut into pieces of a size; the last may be shorter."""
    for start in range(0, batch.rows, size):
        yield batch.take(slice(start, start + size))


def grouped(batches: Iterable[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    """Groups of so many batches, one behind the other; the last may be shorter."""
    stream = iter(batches)
    return iter(lambda: tuple(islice(stream, size)), ())


class Batches:
    """The batches of a source, read ahead, with a look at the first one and at where values stop being finite.

    Attributes:
        first_not_finite: where values stop being finite, in words; None while they are.
        fingerprint: of the rows so far, those that are read ahead included.

    Args:
        source: the source.
        size: rows a batch.
        marked: whether `ended` and `fingerprint_of` will be asked.
        timing: gets the seconds of waiting for batches, as `reading`.
    """

    def __init__(self, source: Source, size: int, *, marked: bool = False, timing: Timing | None = None) -> None:
        self.fingerprint = Fingerprint()
        self._marks: dict[int, str] | None = {} if marked else None
        self.first_not_finite: str | None = None
        self._ahead = prefetch(self._watched(source.batches(size)))
        self._stream = _timed(self._ahead, timing or Timing())

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.close()

    def peek(self) -> Batch:
        """The first batch, which is still to come."""
        first = next(self._stream, None)
        if first is None:
            raise DataError("no rows in the data", "at least one row", "Pass data with rows.")
        self._stream = chain([first], self._stream)
        return first

    def ended(self, rows: int) -> bool:
        """Whether a batch of the source ended behind the first so many rows, as they were read."""
        return rows in (self._marks or {})

    def fingerprint_of(self, rows: int) -> str | None:
        """Fingerprint of the first so many rows, where a batch ended behind them; those of fewer are forgotten."""
        marks = self._marks or {}
        found = marks.get(rows)
        for earlier in [mark for mark in list(marks) if mark < rows]:
            del marks[earlier]
        return found

    def cut(self, size: int) -> None:
        """Give batches of at most this size from here on."""
        whole = self._stream
        self._stream = (piece for batch in whole for piece in pieces(batch, size))

    def __iter__(self) -> Iterator[Batch]:
        return self._stream

    def _watched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        start = 0
        for batch in batches:
            if self.first_not_finite is None:
                self.first_not_finite = _where_not_finite(batch, start)
            start += batch.rows
            self.fingerprint.add(batch.inputs, batch.labels, batch.rows)
            if self._marks is not None:
                self._marks[start] = self.fingerprint.hexdigest()
            yield batch


class Fitted:
    """The batches as another model takes them; cutting them cuts those of all models."""

    def __init__(self, batches: Batches, fit: Callable[[Batch], Batch]) -> None:
        self._batches, self.fit = batches, fit

    def peek(self) -> Batch:
        """The first batch, which is still to come."""
        return self.fit(self._batches.peek())

    def cut(self, size: int) -> None:
        """Give batches of at most this size from here on."""
        self._batches.cut(size)


def _timed(batches: Iterator[Batch], timing: Timing) -> Iterator[Batch]:
    while True:
        with timing.measure("reading"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _where_not_finite(batch: Batch, start: int) -> str | None:
    for name, array in batch.inputs.items():
        row = find_non_finite_row(array)
        if row is not None:
            return f"input {name!r} is not finite in row {start + row}"
    row = find_non_finite_row(batch.labels) if batch.labels is not None else None
    return None if row is None else f"the label of row {start + row} is not finite"


T = TypeVar("T")


def prefetch(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, made up to `depth` ahead in a thread of their own.

    What the iterator raises is raised here, at the same place. Closing this generator stops the thread.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)  # None is the end
    stop = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
        except BaseException as error:  # noqa: BLE001 - carried over to the consumer, whatever it is
            put(error)
            return
        put(None)

    thread = threading.Thread(target=work, name="onnxrich-prefetch", daemon=True)
    thread.start()
    try:
        while (got := ready.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        stop.set()
        thread.join()
