"""What fits into memory: the moments, refused with the numbers where they don't, and how many runs at once."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from onnxrich._utils.formatting import count_text, size_text
from onnxrich.engine.sizing import FEWEST_BLOCKS, block_count
from onnxrich.errors import ModelError
from onnxrich.model.patch.instrument import Patch

# The share of the memory that is free, or that --max-memory leaves, that moments may take; the same for runs at once.
SHARE = 0.5
# Copies of one layer's moments that are made where its numbers are computed.
COPIES = 4
# Layers that a message names.
LISTED = 3


def fit_lanes(patch: Patch, *, blocks: int, lanes: int, taken: int, memory: int | None) -> int:
    """The number of runs at once: as many as are wanted where memory holds them and the blocks can be shared, else one.

    Args:
        patch: of the head with its layers.
        blocks: number of blocks.
        lanes: runs at once that are wanted.
        taken: bytes that one of them takes beside its sums.
        memory: bytes that the work may use; those that are free when left out.
    """
    more = (lanes - 1) * (_sums(patch) + taken)
    return lanes if blocks % lanes == 0 and bytes_needed(patch, blocks) + more <= _allowed(memory) else 1


def fit_blocks(patch: Patch, names: Sequence[str], *, blocks: int | None, memory: int | None) -> int:
    """The number of blocks for which there is memory: as asked, or as many as fit.

    Args:
        patch: of the head with its layers.
        names: of the layers, which may be none.
        blocks: that the user asks for.
        memory: bytes that the work may use; those that are free when left out.

    Raises:
        ModelError: when they don't fit; the message holds the numbers.
    """
    most = block_count(patch.edges[-1], blocks)
    allowed = _allowed(memory)
    tried = [most] if blocks is not None else [*range(most, FEWEST_BLOCKS - 1, -2), 1]
    for count in tried:
        if bytes_needed(patch, count) <= allowed:
            return count
    count = tried[-1]
    several = f"of {count_text(len(names), 'layer')} " if names else ""
    raise ModelError(
        f"the moments {several}in {count_text(count, 'block')} take {size_text(bytes_needed(patch, count))} of memory",
        f"at most {size_text(allowed)}, {SHARE:.0%} of {'--max-memory' if memory else 'the free memory'}",
        _remedy(patch, names, count),
    )


def _allowed(memory: int | None) -> int:
    return int(SHARE * (memory or psutil.virtual_memory().available))


def _remedy(patch: Patch, names: Sequence[str], count: int) -> str:
    if not names:
        return "Pass fewer --blocks, or a larger --max-memory."
    widths = [layer.edges[-1] for layer in patch.layers]
    widest = sorted(zip(widths, names, strict=True), reverse=True)[:LISTED]
    told = ", ".join(f"{name!r} (d = {d:,}: {size_text(8 * d * d)} a block)" for d, name in widest)
    fewer = "--blocks 0, " if count > 1 else ""
    return f"Pass {fewer}fewer layers as --layers NAME,…, or a larger --max-memory. The widest are {told}."


def bytes_needed(patch: Patch, blocks: int) -> int:
    """Bytes that moments take: the sums of all layers with a spare set, and copies of the widest for its numbers."""
    widest = 8 * max(layer.edges[-1] ** 2 for layer in (*patch.layers, patch))
    return (blocks + 1) * _sums(patch) + (blocks + COPIES) * widest


def _sums(patch: Patch) -> int:
    return 8 * sum(height * width for height, width in patch.shapes)
