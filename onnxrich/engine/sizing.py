"""Sizes of a pass: samples in a batch, blocks of moments, batches that one product adds."""

from __future__ import annotations

import numpy as np

from onnxrich.data.source import Source
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead

# Bytes of input that a batch is cut to, and the sizes between which it is kept, by kind of memory: enough rows to fill
# the device, little enough to stay out of memory's way. benchmarks/RESULTS.md has the curves.
BATCH_BYTES = {"cpu": 2**23, "cuda": 2**26}


SMALLEST, LARGEST = 2**3, {"cpu": 2**11, "cuda": 2**12}


# The same for images, whose few channels become many: their inner tensors are to stay in the processor's cache.
MAP_BYTES = {"cpu": 2**20, "cuda": 2**26}


# Bytes that features and outputs of a batch of tokens may have, in float32 and double.
TOKEN_BYTES = {"cpu": 2**30, "cuda": 2**32}


# What a symbolic dimension is taken for where the size of a row is estimated.
OPEN_DIMENSION = 64


# Blocks of moments, as many as the bytes allow: sixteen give intervals that are hardly wider than with more.
BLOCKS, FEWEST_BLOCKS, BLOCK_BYTES = 16, 4, 2**30


# A product reads and writes all moments, however few rows it adds: from so many on that weighs little. The rows of so
# many runs are kept for it; moments narrower than this are cheap anyway.
PRODUCT_ROWS, MOST_RUNS, SMALL_PRODUCT = 512, 16, 256


def fixed_size(model: Model) -> int | None:
    """The number of samples in a batch, where all inputs of the model fix it."""
    first = [entry.shape[0] for entry in model.inputs if entry.shape]
    sizes = [size for size in first if isinstance(size, int)]
    return sizes[0] if sizes and len(sizes) == len(first) else None


def block_count(d: int, asked: int | None) -> int:
    """The number of blocks of d × d moments: as asked, or as many as memory allows; 1 where those are too few.

    It is even, so that two cores can share them.
    """
    if asked is not None:
        return max(1, asked)
    count = min(BLOCKS, BLOCK_BYTES // (8 * d * d)) // 2 * 2
    return count if count >= FEWEST_BLOCKS else 1


def batches_per_product(size: int, d: int, *, n: int | None, blocks: int | None) -> int:
    """The number of runs whose rows one product adds to d × d moments: as many as give it the rows that it asks for.

    Args:
        size: rows of a run.
        d: width of the moments.
        n: number of rows, which are to fill the blocks; None when it is not known.
        blocks: number of blocks that the user asks for.
    """
    if d < SMALL_PRODUCT:
        return 1
    most = MOST_RUNS if n is None else n // (size * block_count(d, blocks))
    return max(1, min(PRODUCT_ROWS // size, MOST_RUNS, most))


def batch_size(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    memory: str,
    asked: int | None = None,
    blocks: int | None = None,
) -> int:
    """The number of samples in a batch: as asked, or as the size of a row suggests. It depends on no measured time.

    Args:
        model: whose inputs say how large a row is; where they fix the batch size, a multiple of it is given.
        head: whose width says how large a token is.
        source: whose rows, if there are few, are spread over the blocks.
        memory: kind of memory in which the batches lie, "cpu" or "cuda".
        asked: what the user asks for.
        blocks: number of blocks that the user asks for.
    """
    fixed = fixed_size(model)
    size = asked
    if size is None:
        p, C = head.known_widths
        row = sum(_row_bytes(entry.shape, entry.dtype) for entry in model.inputs if entry.shape)
        maps = any(len(entry.shape or ()) > 3 for entry in model.inputs)
        free = 2 ** np.floor(np.log2((MAP_BYTES if maps else BATCH_BYTES)[memory] / max(row, 1)))
        size = int(np.clip(free, SMALLEST, LARGEST[memory]))
        tokens = sum(_tokens(entry.shape, entry.dtype) for entry in model.inputs if entry.shape)
        while size > 1 and 12 * size * tokens * (p + C) > TOKEN_BYTES[memory]:
            size //= 2
        if source.n is not None:
            size = min(size, max(SMALLEST, -(-source.n // block_count(1 + p + 2 * C, blocks))))
    return size if fixed is None else fixed * max(1, size // fixed)


def _elements(shape: tuple[int | str | None, ...] | None) -> int:
    sizes = [size if isinstance(size, int) else OPEN_DIMENSION for size in (shape or ())[1:]]
    return int(np.prod(sizes, dtype=np.int64))


def _row_bytes(shape: tuple[int | str | None, ...] | None, dtype: np.dtype[np.generic] | None) -> int:
    return _elements(shape) * (dtype.itemsize if dtype is not None else 4)


def _tokens(shape: tuple[int | str | None, ...] | None, dtype: np.dtype[np.generic] | None) -> int:
    """Entries of a row that are looked up in a table, each of which becomes a vector: integers along an axis."""
    return _elements(shape) if dtype is not None and dtype.kind in "iu" and len(shape or ()) == 2 else 0
