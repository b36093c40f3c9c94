"""Decoding of many images by threads on all cores, ahead of their use and in the order of their rows.

Pillow releases the interpreter's lock while it decodes and resizes. A decoder that crashes on an untrusted image ends
the process: the command line works in a worker process, and the library does with `isolate=True`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich._utils.threads import usable_cores
from onnxrich.data.context import ImageSpec, OpenContext
from onnxrich.data.images.decode import UnreadableError, decode_image, stack_images
from onnxrich.data.paths import DataPath
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError

T = TypeVar("T")

# Twice the bytes of the most pixels that are decoded, uncompressed in four channels.
LARGEST_IMAGE = 2**29
# Blocks that are decoded ahead of the one in use, and images that a thread decodes at once.
_AHEAD, _CHUNK = 2, 16


@dataclass(frozen=True)
class ImageItem:
    """An image in a file, or its bytes, and its name for messages."""

    content: DataPath | bytes
    name: str


# An image, or the reason why it can't be decoded.
_Result = AnyArray | str


def decode_blocks(
    blocks: Iterable[tuple[Sequence[ImageItem], T]], context: OpenContext, name: str
) -> Iterator[tuple[AnyArray, AnyArray | None, T]]:
    """Decode blocks of images.

    Args:
        blocks: images of each block, and a tag that is passed on.
        context: form of the images, and where to report those that can't be read.
        name: name of the data, for messages.

    Yields:
        The readable images of a block, uint8 of shape (n, height, width, channels); which of its images these are,
        booleans, None for all; and the tag.

    Raises:
        DataError: when more images can't be read than the user allows, or sizes differ within a block.
    """
    import_optional("PIL.Image", "images", "images")
    executor = ThreadPoolExecutor(usable_cores(), "onnxrich-images")
    pending: deque[tuple[list[Future[list[_Result]]], Sequence[ImageItem], T]] = deque()

    def finish_first() -> tuple[AnyArray, AnyArray | None, T]:
        futures, items, tag = pending.popleft()
        results = [result for future in futures for result in future.result()]
        return *_collect(results, items, context, name), tag

    try:
        for items, tag in blocks:
            chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
            futures = [executor.submit(_decode_chunk, chunk, context.image_spec) for chunk in chunks]
            pending.append((futures, items, tag))
            if len(pending) > _AHEAD:
                yield finish_first()
        while pending:
            yield finish_first()
    finally:
        executor.shutdown(cancel_futures=True)


def _collect(
    results: Sequence[_Result], items: Sequence[ImageItem], context: OpenContext, name: str
) -> tuple[AnyArray, AnyArray | None]:
    """Stack the images of a block, and report those that can't be read."""
    for item, result in zip(items, results, strict=True):
        if isinstance(result, str):
            context.skipped.skip(item.name, result)
    images = [result for result in results if not isinstance(result, str)]
    if len(images) == len(results):
        return stack_images(images, name), None
    readable = np.array([not isinstance(result, str) for result in results], dtype=bool)
    return (stack_images(images, name) if images else np.empty((0, 1, 1, 1), np.uint8)), readable


def _decode_chunk(items: Sequence[ImageItem], spec: ImageSpec) -> list[_Result]:
    return [_decode_item(item, spec) for item in items]


def _decode_item(item: ImageItem, spec: ImageSpec) -> _Result:
    """Decode an image, or return the reason why it can't be decoded."""
    try:
        return decode_image(_read(item.content), spec)
    except UnreadableError as error:
        return str(error)
    except DataError as error:
        # A URL that can't be reached is no property of one image.
        if isinstance(item.content, bytes) or item.content.remote:
            raise
        return error.found.removeprefix(str(item.content.path)).removeprefix(": ").strip()
    except MemoryError:
        return "memory ran out"
    except OSError as error:
        return error.strerror or type(error).__name__


def _read(content: DataPath | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.read("a readable image", LARGEST_IMAGE)
