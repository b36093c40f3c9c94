"""Memory of a pass: blocks of moments and lanes that fit, and a refusal with numbers where they don't."""

from __future__ import annotations

from collections.abc import Sequence

from onnxrich._utils.formatting import count_text, size_text
from onnxrich._utils.limits import available_bytes
from onnxrich.engine.sizing import FEWEST_BLOCKS, choose_block_count
from onnxrich.errors import ModelError
from onnxrich.model.patch.instrument import Patch

# Share of the free memory, or of --max-memory, that moments may take.
SHARE = 0.5
# Copies of one layer's moments that the computation of its numbers makes.
COPIES = 4
# Number of layers that a message names.
LISTED = 3


def fit_lanes(patch: Patch, *, blocks: int, lanes: int, lane_bytes: int, memory: int | None) -> int:
    """The number of lanes: as requested where memory holds them and they can share the blocks evenly, else one.

    Args:
        patch: patch of the head with its layers.
        blocks: number of blocks.
        lanes: requested number of lanes.
        lane_bytes: memory of one lane beside its sums.
        memory: bytes that the work may use; the free memory when left out.
    """
    extra_bytes = (lanes - 1) * (_sum_bytes(patch) + lane_bytes)
    fits = moments_bytes(patch, blocks) + extra_bytes <= _allowed_bytes(memory)
    return lanes if blocks % lanes == 0 and fits else 1


def fit_blocks(patch: Patch, names: Sequence[str], *, blocks: int | None, memory: int | None) -> int:
    """The number of blocks: as requested, or as many as memory holds.

    Args:
        patch: patch of the head with its layers.
        names: names of the layers; may be empty.
        blocks: number of blocks that the user requested.
        memory: bytes that the work may use; the free memory when left out.

    Raises:
        ModelError: when the moments don't fit into memory; the message holds the numbers.
    """
    most = choose_block_count(patch.edges[-1], blocks)
    allowed = _allowed_bytes(memory)
    counts = [most] if blocks is not None else [*range(most, FEWEST_BLOCKS - 1, -2), 1]
    for count in counts:
        if moments_bytes(patch, count) <= allowed:
            return count
    count = counts[-1]
    of_layers = f"of {count_text(len(names), 'layer')} " if names else ""
    raise ModelError(
        f"the moments {of_layers}in {count_text(count, 'block')} take {size_text(moments_bytes(patch, count))} of "
        "memory",
        f"at most {size_text(allowed)}, {SHARE:.0%} of {'--max-memory' if memory else 'the free memory'}",
        _remedy(patch, names, count),
    )


def moments_bytes(patch: Patch, blocks: int) -> int:
    """Bytes of all moments: the sums of all layers with a spare set, and copies of the widest layer's moments."""
    widest = 8 * max(layer.edges[-1] ** 2 for layer in (*patch.layers, patch))
    return (blocks + 1) * _sum_bytes(patch) + (blocks + COPIES) * widest


def _sum_bytes(patch: Patch) -> int:
    return 8 * sum(height * width for height, width in patch.shapes)


def _allowed_bytes(memory: int | None) -> int:
    return int(SHARE * (memory or available_bytes()))


def _remedy(patch: Patch, names: Sequence[str], count: int) -> str:
    if not names:
        fewer = "fewer --blocks, or " if count > 1 else ""
        return f"Pass {fewer}a larger --max-memory, or use a machine with more memory."
    widths = [layer.edges[-1] for layer in patch.layers]
    widest = sorted(zip(widths, names, strict=True), reverse=True)[:LISTED]
    listing = ", ".join(f"{name!r} (d = {d:,}: {size_text(8 * d * d)} a block)" for d, name in widest)
    fewer_blocks = "--blocks 0, " if count > 1 else ""
    return f"Pass {fewer_blocks}fewer layers as --layers NAME,…, or a larger --max-memory. The widest are {listing}."
