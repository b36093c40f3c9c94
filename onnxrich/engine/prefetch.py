"""Read ahead: the next batches are made while the device works on this one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

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
