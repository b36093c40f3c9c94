"""Reading ahead changes nothing but when the work is done, and leaves no thread behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from clock import DEADLINE, wait_until
from zoo_text import within

from onnxrich.engine.batches import prefetch


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name == "onnxrich-prefetch"}


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_same_items_in_order(count: int, depth: int) -> None:
    """All items come, in their order, None among them; then the thread is gone."""
    items = [None if i % 3 == 0 else i for i in range(count)]
    assert list(prefetch(iter(items), depth)) == items
    assert not threads()


def test_order_under_a_slow_consumer_and_a_slow_producer() -> None:
    """Whoever is slower, the order stays."""

    def slow(pause: float) -> Iterator[int]:
        for i in range(12):
            time.sleep(pause)
            yield i

    assert list(prefetch(slow(0.003))) == list(range(12))
    received = []
    for item in prefetch(slow(0)):
        time.sleep(0.003)
        received.append(item)
    assert received == list(range(12))


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt("stop"), GeneratorExit("end")])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_raises_where_the_iterator_raised(at: int, error: BaseException) -> None:
    """What the iterator raises is raised after the items before it, the same object; then the thread is gone."""

    def items() -> Iterator[int]:
        yield from range(at)
        raise error

    ahead, received = prefetch(items()), []
    with within(DEADLINE), pytest.raises(type(error)) as caught:
        while True:
            received.append(next(ahead))
    assert received == list(range(at))
    assert caught.value is error
    assert not threads()


def test_works_ahead_and_not_too_far() -> None:
    """While one item is used the next ones are produced: `depth` wait, and one more is in the making."""
    produced: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            produced.append(i)
            yield i

    ahead = prefetch(items(), 2)
    assert next(ahead) == 0
    assert wait_until(lambda: len(produced) == 4)
    time.sleep(0.15)
    assert len(produced) == 4
    ahead.close()


def test_closing_early_stops_the_thread() -> None:
    """Closing it while the thread waits for room ends the thread, and the iterator gets no further."""
    produced: list[int] = []

    def items() -> Iterator[int]:
        for i in range(10**9):
            produced.append(i)
            yield i

    ahead = prefetch(items())
    next(ahead)
    assert threads()
    with within(DEADLINE):
        ahead.close()
    assert not threads()
    assert len(produced) <= 5


def test_closing_closes_the_iterator() -> None:
    """An iterator that is left early lets go of its files."""
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = prefetch(items())
    next(ahead)
    with within(DEADLINE):
        ahead.close()
    assert closed.wait(DEADLINE)


def test_an_exception_in_the_consumer_stops_the_thread() -> None:
    """A consumer that fails, and so drops the generator, leaves no thread behind."""

    def consume() -> None:
        for item in prefetch(iter(range(10**9))):
            if item == 3:
                raise ValueError("mine")

    with within(DEADLINE), pytest.raises(ValueError, match="mine") as caught:
        consume()
    del caught
    assert wait_until(lambda: not threads())


def test_nothing_begins_before_the_first_item() -> None:
    """Made and never used, it starts no thread."""
    ahead = prefetch(iter(range(3)))
    assert not threads()
    ahead.close()
    assert not threads()
