"""Batches of a pass: read ahead in a thread, split, padded, fingerprinted, and searched for non-finite rows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from onnxrich.data.fingerprint import Fingerprint
from onnxrich.data.source import Batch, Source, not_finite
from onnxrich.errors import DataError
from onnxrich.progress import Stage, Timing

T = TypeVar("T")


def pad(batch: Batch, size: int) -> Batch:
    """Repeat the last sample of a batch up to a size."""
    return batch.take(np.minimum(np.arange(size), batch.rows - 1))


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Split a batch into batches of a size; the last may be shorter."""
    for start in range(0, batch.rows, size):
        yield batch.take(slice(start, start + size))


def group(batches: Iterable[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    """Group consecutive batches by a number; the last group may be shorter."""
    stream = iter(batches)
    return iter(lambda: tuple(islice(stream, size)), ())


class Batches:
    """The batches of a source, read ahead in a thread.

    Args:
        source: the source.
        size: samples in a batch.
        resumable: whether `ends_at` and `fingerprint_at` will be called.
        timing: gets the seconds of waiting for batches, as `Stage.READING`.

    Attributes:
        first_not_finite: where values stop being finite, as a clause; None while all are finite.
        fingerprint: fingerprint of the rows so far, including those that are read ahead.
    """

    def __init__(self, source: Source, size: int, *, resumable: bool = False, timing: Timing | None = None) -> None:
        self.fingerprint = Fingerprint()
        self.first_not_finite: str | None = None
        self._fingerprints: dict[int, str] | None = {} if resumable else None
        self._prefetched = prefetch(self._inspect(source.batches(size)))
        self._stream = _time_reading(self._prefetched, timing or Timing())

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self._prefetched.close()

    def peek(self) -> Batch:
        """Return the first batch, and keep it for the iteration.

        Raises:
            DataError: when the source is empty.
        """
        first = next(self._stream, None)
        if first is None:
            raise DataError("the data have no rows", "at least one row", "Pass data with rows.")
        self._stream = chain([first], self._stream)
        return first

    def ends_at(self, samples: int) -> bool:
        """Whether a batch of the source, as it was read, ended behind so many samples."""
        return samples in (self._fingerprints or {})

    def fingerprint_at(self, samples: int) -> str | None:
        """Fingerprint of the first so many samples, where a batch ended behind them. Earlier ones are dropped."""
        fingerprints = self._fingerprints or {}
        fingerprint = fingerprints.get(samples)
        for earlier in [end for end in fingerprints if end < samples]:
            del fingerprints[earlier]
        return fingerprint

    def limit(self, size: int) -> None:
        """Give batches of at most this size from here on."""
        stream = self._stream
        self._stream = (piece for batch in stream for piece in split(batch, size))

    def __iter__(self) -> Iterator[Batch]:
        return self._stream

    def _inspect(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Fingerprint the rows and look for the first one that is not finite."""
        start = 0
        for batch in batches:
            if self.first_not_finite is None:
                self.first_not_finite = _describe_not_finite(batch, start)
            start += batch.rows
            self.fingerprint.add(batch.inputs, batch.labels, batch.rows)
            if self._fingerprints is not None:
                self._fingerprints[start] = self.fingerprint.hexdigest()
            yield batch


class AdaptedBatches:
    """The batches in the form that another model takes. A limit on their size limits those of all models.

    Args:
        batches: the batches.
        adapt: turns a batch into the model's form.
    """

    def __init__(self, batches: Batches, adapt: Callable[[Batch], Batch]) -> None:
        self._batches, self.adapt = batches, adapt

    def peek(self) -> Batch:
        """Return the first batch, and keep it for the iteration."""
        return self.adapt(self._batches.peek())

    def limit(self, size: int) -> None:
        """Give batches of at most this size from here on."""
        self._batches.limit(size)


def _time_reading(batches: Iterator[Batch], timing: Timing) -> Iterator[Batch]:
    while True:
        with timing.measure(Stage.READING):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _describe_not_finite(batch: Batch, start: int) -> str | None:
    """A clause on the first row that is not finite; None when all are finite."""
    for name, array in batch.inputs.items():
        row = not_finite(array)
        if row is not None:
            return f"input {name!r} is not finite in row {start + row}"
    row = not_finite(batch.labels) if batch.labels is not None else None
    return None if row is None else f"the label of row {start + row} is not finite"


def prefetch(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield the same items in the same order, produced up to `depth` ahead in a thread.

    An exception of the iterator is raised here, behind the items before it. Closing this generator stops the thread.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(depth)  # None marks the end
    stop = threading.Event()

    def put(entry: tuple[T] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item,)):
                    return
        except BaseException as error:  # noqa: BLE001 - any exception is carried over to the consumer
            put(error)
            return
        put(None)

    thread = threading.Thread(target=work, name="onnxrich-prefetch", daemon=True)
    thread.start()
    try:
        while (entry := ready.get()) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        stop.set()
        thread.join()
