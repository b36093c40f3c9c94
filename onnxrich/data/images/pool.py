"""Many images at once: decoded by processes on all cores, ahead of their use, in the order in which they are asked for.

Requirements:

- A decoder process is a program of its own, started afresh: nothing is forked, no script of the user runs again,
  nothing is unpickled. It dies when its standard input is closed: with its parent, however that ends.
- It is asked by one line of JSON a request: paths of local files, or sizes of images whose bytes follow. It answers
  with one line, shapes or reasons, and the pixels behind it.
- A thread for each process asks and waits, so that neither side can wait for the other with a full pipe.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich._utils.threads import usable_cores
from onnxrich.data.context import OpenContext
from onnxrich.data.images.decode import ImageSpec, stacked
from onnxrich.data.images.decoder_process import load
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError

T = TypeVar("T")

# Blocks that are decoded ahead of the one that is used, and images of one request.
AHEAD, CHUNK = 2, 16
# Images below which they are decoded in this process: starting two others takes about as long as decoding a hundred.
POOL_FROM = 256


@dataclass(frozen=True)
class Item:
    """An image in a file, or its bytes, and its name for messages."""

    content: DataPath | bytes
    name: str


def decoded(
    parts: Iterable[tuple[Sequence[Item], T]], request: OpenContext, *, name: str, rows: int
) -> Iterator[tuple[AnyArray, AnyArray | None, T]]:
    """Images of each part, uint8 of shape (n, height, width, channels); which of its items they are; its mark.

    Args:
        parts: items of a block, with a mark that is handed on.
        request: how images are to look, and where losses are counted.
        name: of the data, for messages.
        rows: number of items in all parts.

    Raises:
        DataError: when more can't be read than is allowed, or sizes differ within a part.
    """
    import_optional("PIL.Image", "images", "images")
    if rows < POOL_FROM or usable_cores() == 1:
        for items, mark in parts:
            yield *_collected([_load(items, request.look)], items, request, name), mark
        return
    with _Pool(request.look, usable_cores()) as pool:
        waiting: deque[tuple[list[Future[list[Any]]], Sequence[Item], T]] = deque()
        for items, mark in parts:
            chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
            waiting.append(([pool.submit(chunk) for chunk in chunks], items, mark))
            if len(waiting) > AHEAD:
                yield _finished(waiting.popleft(), request, name)
        while waiting:
            yield _finished(waiting.popleft(), request, name)


def _finished(
    entry: tuple[list[Future[list[Any]]], Sequence[Item], T], request: OpenContext, name: str
) -> tuple[AnyArray, AnyArray | None, T]:
    futures, items, mark = entry
    return *_collected([future.result() for future in futures], items, request, name), mark


def _collected(
    chunks: Sequence[list[Any]], items: Sequence[Item], request: OpenContext, name: str
) -> tuple[AnyArray, AnyArray | None]:
    images = [image for chunk in chunks for image in chunk]
    kept = np.array([not isinstance(image, str) for image in images], dtype=bool)
    for item, image in zip(items, images, strict=True):
        if isinstance(image, str):
            request.ledger.skip(item.name, image)
    if kept.all():
        return stacked(images, name), None
    whole = [image for image in images if not isinstance(image, str)]
    return (stacked(whole, name) if whole else np.empty((0, 1, 1, 1), np.uint8)), kept


def _load(items: Sequence[Item], look: ImageSpec) -> list[AnyArray | str]:
    """Images, or reasons why there are none, decoded in this process."""
    return [load(content, look) for content in map(_content, items)]


def _content(item: Item) -> str | bytes:
    """The path of a local file, or bytes; what a URL leads to is fetched here."""
    if isinstance(item.content, bytes):
        return item.content
    if not item.content.remote:
        return item.content.url
    with item.content.open("a readable image") as file:
        return file.read()


class _Pool:
    """Decoder processes, each with a thread that asks it."""

    def __init__(self, look: ImageSpec, size: int) -> None:
        self._look, self._own = look, threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(size, "onnxrich-images")

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()

    def submit(self, items: Sequence[Item]) -> Future[list[Any]]:
        """Images, or reasons why there are none, when one of the processes has decoded them."""
        return self._threads.submit(self._ask, items)

    def _ask(self, items: Sequence[Item]) -> list[AnyArray | str]:
        process = getattr(self._own, "process", None) or self._started()
        contents = [_content(item) for item in items]
        try:
            _send(process, [content if isinstance(content, str) else len(content) for content in contents])
            for content in contents:
                if isinstance(content, bytes):
                    process.stdin.write(content)
            process.stdin.flush()
            return _answer(process)
        except (BrokenPipeError, EOFError) as error:
            code = process.wait()
            raise DataError(
                f"the process that decodes images ended (exit code {code}) at one of {items[0].name} … "
                f"{items[-1].name}",
                "images that Pillow decodes",
                "Remove the one that it does not survive.",
            ) from error

    def _started(self) -> Any:
        # -P: the current folder, which may come with untrusted data, must not shadow modules.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "onnxrich.data.images.decoder_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        self._own.process = process
        _send(process, {"steps": asdict(self._look.steps), "channels": self._look.channels})
        return process


def _send(process: Any, message: Any) -> None:
    process.stdin.write(json.dumps(message).encode() + b"\n")


def _answer(process: Any) -> list[AnyArray | str]:
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    images: list[AnyArray | str] = []
    for head in json.loads(line):
        if isinstance(head, str):
            images.append(head)
            continue
        pixels = np.empty(prod(head), np.uint8)
        if process.stdout.readinto(pixels.data) < pixels.size:
            raise EOFError
        images.append(pixels.reshape(head))
    return images
