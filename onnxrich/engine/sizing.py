"""Sizes of a pass: samples in a batch, blocks of moments, batches that one product adds."""

from __future__ import annotations

import numpy as np

from onnxrich.data.labels import FEW_CLASSES
from onnxrich.data.source import Source
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead

# Bytes of input in a batch, by kind of memory: enough rows to keep the device busy, few enough to stay in its caches.
# benchmarks/RESULTS.md has the curves.
BATCH_BYTES = {"cpu": 2**23, "cuda": 2**26}
# The same for images: their few channels become many, and the inner tensors should stay in the processor's cache.
IMAGE_BATCH_BYTES = {"cpu": 2**20, "cuda": 2**26}
# Bounds of the chosen number of samples in a batch.
SMALLEST_BATCH, LARGEST_BATCH = 2**3, {"cpu": 2**11, "cuda": 2**12}
# Bytes of features and outputs in a batch of tokens, in float32 and double together.
TOKEN_BYTES = {"cpu": 2**30, "cuda": 2**32}
# Length assumed for a symbolic dimension when the size of a sample is estimated.
SYMBOLIC_LENGTH = 64

# Blocks of moments, as many as the bytes allow. Sixteen give intervals hardly wider than more blocks would.
BLOCKS, FEWEST_BLOCKS, BLOCK_BYTES = 16, 4, 2**30

# A product reads and writes all moments, however few rows it adds. From PRODUCT_ROWS rows on that cost is small, so the
# rows of up to MOST_BATCHES short batches are joined. Moments narrower than SMALL_PRODUCT are cheap anyway.
PRODUCT_ROWS, MOST_BATCHES, SMALL_PRODUCT = 512, 16, 256


def fixed_batch_size(model: Model) -> int | None:
    """The number of samples in a batch where all inputs of the model fix it; None otherwise."""
    lengths = [entry.shape[0] for entry in model.inputs if entry.shape]
    sizes = [length for length in lengths if isinstance(length, int)]
    return sizes[0] if sizes and len(sizes) == len(lengths) else None


def moments_width(head: Head | UnmeasuredHead, source: Source | None = None) -> int:
    """The width of a head's moments before the labels are known: 1 + p + C + K, with K estimated as C.

    Outputs that are derived from the features are no part of it, nor are classes that no row of a source has.
    """
    p, C = head.known_widths
    occurring = None if source is None else source.classes if source.occurring is None else len(source.occurring)
    K = C if occurring is None or C <= FEW_CLASSES else min(C, occurring)
    return 1 + p + K + (0 if isinstance(head, Head) and head.derives_outputs else C)


def choose_block_count(d: int, requested: int | None) -> int:
    """Choose the number of blocks of d × d moments: as requested, or as many as memory allows, or 1.

    The chosen number is even, so that two cores can share the blocks.
    """
    if requested is not None:
        return max(1, requested)
    count = min(BLOCKS, BLOCK_BYTES // (8 * d * d)) // 2 * 2
    return count if count >= FEWEST_BLOCKS else 1


def choose_batches_per_product(size: int, d: int, *, n: int | None, blocks: int | None) -> int:
    """Choose the number of batches whose rows one product adds to d × d moments.

    Args:
        size: rows of a batch.
        d: width of the moments.
        n: number of rows of the data, which should fill all blocks; None when it is unknown.
        blocks: number of blocks that the user requested.
    """
    if d < SMALL_PRODUCT:
        return 1
    most = MOST_BATCHES if n is None else n // (size * choose_block_count(d, blocks))
    return max(1, min(PRODUCT_ROWS // size, MOST_BATCHES, most))


def choose_batch_size(
    model: Model,
    head: Head | UnmeasuredHead,
    source: Source,
    *,
    memory: str,
    requested: int | None = None,
    blocks: int | None = None,
) -> int:
    """Choose the number of samples in a batch: as requested, or from the size of a sample. No time is measured.

    Args:
        model: the model. Where its inputs fix the batch size, the result is a multiple of it.
        head: its head; p and C give the size of a token.
        source: the rows; few rows are spread over the blocks.
        memory: kind of memory in which the batches lie, "cpu" or "cuda".
        requested: batch size that the user requested.
        blocks: number of blocks that the user requested.
    """
    fixed = fixed_batch_size(model)
    size = _size_from_shapes(model, head, source, memory=memory, blocks=blocks) if requested is None else requested
    return size if fixed is None else fixed * max(1, size // fixed)


def _size_from_shapes(
    model: Model, head: Head | UnmeasuredHead, source: Source, *, memory: str, blocks: int | None
) -> int:
    shapes = [(entry.shape, entry.dtype) for entry in model.inputs if entry.shape]
    sample_bytes = sum(_sample_bytes(shape, dtype) for shape, dtype in shapes)
    has_images = any(len(shape) > 3 for shape, _ in shapes)
    most_bytes = (IMAGE_BATCH_BYTES if has_images else BATCH_BYTES)[memory]
    power_of_two = 2 ** np.floor(np.log2(most_bytes / max(sample_bytes, 1)))
    size = int(np.clip(power_of_two, SMALLEST_BATCH, LARGEST_BATCH[memory]))
    tokens = sum(_token_count(shape, dtype) for shape, dtype in shapes)
    while size > 1 and 12 * size * tokens * sum(head.known_widths) > TOKEN_BYTES[memory]:
        size //= 2
    if source.n is not None:
        blocks_to_fill = choose_block_count(moments_width(head, source), blocks)
        size = min(size, max(SMALLEST_BATCH, -(-source.n // blocks_to_fill)))
    return size


def _elements(shape: tuple[int | str | None, ...]) -> int:
    """Number of elements of one sample."""
    lengths = [length if isinstance(length, int) else SYMBOLIC_LENGTH for length in shape[1:]]
    return int(np.prod(lengths, dtype=np.int64))


def _sample_bytes(shape: tuple[int | str | None, ...], dtype: np.dtype[np.generic] | None) -> int:
    return _elements(shape) * (dtype.itemsize if dtype is not None else 4)


def _token_count(shape: tuple[int | str | None, ...], dtype: np.dtype[np.generic] | None) -> int:
    """Tokens of one sample: integers along one axis, each of which the model turns into a vector."""
    return _elements(shape) if dtype is not None and dtype.kind in "iu" and len(shape) == 2 else 0
