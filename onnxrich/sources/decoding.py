"""Many images at once: decoded by all cores, ahead of their use, in the order in which they were asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from onnxrich.errors import DataError
from onnxrich.sources.pictures import Look, UnreadableError, stacked
from onnxrich.sources.places import Place
from onnxrich.sources.request import Request
from onnxrich.sources.table import AnyArray

T = TypeVar("T")

# Blocks that are decoded ahead of the one that is used.
AHEAD = 2


@dataclass(frozen=True)
class Item:
    """An image in a file, or its bytes, and its name for messages."""

    content: Place | bytes
    name: str


def decoded(
    parts: Iterable[tuple[Sequence[Item], T]], request: Request, name: str
) -> Iterator[tuple[AnyArray, AnyArray | None, T]]:
    """Images of each part, uint8 of shape (n, height, width, channels); which of its items they are; its mark.

    Raises:
        DataError: when more can't be read than is allowed, or sizes differ within a part.
    """
    with ThreadPoolExecutor(_cores(), "onnxrich-images") as pool:
        waiting: deque[tuple[list[Future[Any]], Sequence[Item], T]] = deque()
        try:
            for items, part in parts:
                waiting.append(([pool.submit(_load, item, request.look) for item in items], items, part))
                if len(waiting) > AHEAD:
                    yield _collected(*waiting.popleft(), request, name)
            while waiting:
                yield _collected(*waiting.popleft(), request, name)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _load(item: Item, look: Look) -> AnyArray | str:
    """The image, or the reason why there is none."""
    try:
        if isinstance(item.content, bytes):
            return look.decode(item.content)
        with item.content.open("a readable image") as file:
            return look.decode(file.read())
    except UnreadableError as error:
        return str(error)
    except DataError as error:
        if isinstance(item.content, Place) and error.found.startswith(item.content.url):
            return error.found.removeprefix(item.content.url).lstrip(": ")
        raise
    except OSError as error:
        return error.strerror or type(error).__name__


def _collected(
    futures: list[Future[Any]], items: Sequence[Item], part: T, request: Request, name: str
) -> tuple[AnyArray, AnyArray | None, T]:
    images = [future.result() for future in futures]
    kept = np.array([not isinstance(image, str) for image in images], dtype=bool)
    for item, image in zip(items, images, strict=True):
        if isinstance(image, str):
            request.ledger.skip(item.name, image)
    if kept.all():
        return stacked(images, name), None, part
    whole = [image for image in images if not isinstance(image, str)]
    return (stacked(whole, name) if whole else np.empty((0, 1, 1, 1), np.uint8)), kept, part


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
