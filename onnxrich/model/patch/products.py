"""Sums of a patch: parts of z for the rows of a batch in, tiles of the moment matrix and tallies out.

ONNX has no product that exploits the symmetry of its result. So the matrix is cut into tiles, and only those on and
above the diagonal are computed. The factors are blocks of some entries, of shape (entries, rows): then the product
reads both as they lie in memory. The blocks are cut before they are transposed, so that each fits into a cache.
`benchmarks/RESULTS.md` has the cost of other ways.

Each product reads and writes all sums, d²/2 numbers, however few rows it adds. So the device can buffer the rows of
several short batches, and the product of the last one adds them all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from onnx import TensorProto

from onnxrich.model.patch.builder import Builder
from onnxrich.model.patch.rows import Part, Tables, add_logits

# Rows and columns of a tile, by the kind of memory. With b tiles along each side (b + 1)/2b of the product is computed.
# But products that are too small for the device are slow, and more tiles than this save little.
TILE = {"cpu": 176, "cuda": 320}
MOST_TILES = 12


@dataclass(frozen=True)
class Sums:
    """Names of the inputs and outputs of the sums, as `Patch` describes them."""

    edges: tuple[int, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    buffered: tuple[tuple[str, ...], ...]
    last: str | None


def tile_edges(d: int, memory: str) -> tuple[int, ...]:
    """Compute the indices at which the tiles of a d × d moment matrix begin along each side, with d at the end.

    Args:
        d: width of the matrix.
        memory: kind of memory that holds it, "cpu" or "cuda".
    """
    count = min(MOST_TILES, max(1, round(d / TILE[memory])))
    return tuple(int(edge) for edge in np.linspace(0, d, count + 1))


def tile_shapes(edges: Sequence[int]) -> list[tuple[int, int]]:
    """List the shapes of the tiles on and above the diagonal, row by row."""
    return list(combinations_with_replacement(np.diff(edges).tolist(), 2))


def accumulate(
    build: Builder,
    parts: Sequence[Part],
    shift: str,
    *,
    masked: bool,
    memory: str,
    batches_per_product: int = 1,
    last: str | None = None,
) -> Sums:
    """Add the nodes that sum (z − shift)(z − shift)ᵀ over the rows.

    Args:
        build: collects the nodes.
        parts: of z, in order; the first is a one, or the weight of each row, 0 or 1.
        shift: name of a tensor of shape (1, d).
        masked: whether rows can have weight 0.
        memory: kind of memory that holds the sums.
        batches_per_product: the most batches whose rows one product adds; 1 before operator set 11, where both branches
            of an If must have the same shape.
        last: existing input that says whether a batch is the last of a product.
    """
    edges = tile_edges(sum(part.width for part in parts), memory)
    sizes = tile_shapes(edges)
    before = [build.input(f"moments.{j:02d}", list(size)) for j, size in enumerate(sizes)]
    after = [f"moments.{j:02d}.next" for j in range(len(sizes))]
    buffer_count = batches_per_product - 1 if build.opset >= 11 else 0
    buffered = [_add_buffer(build, parts, number) for number in range(buffer_count)]
    if not buffered:
        sums = _add_products(build, parts, shift, before=before, after=after, edges=edges, masked=masked)
    else:
        last = last or build.input("last", [], TensorProto.BOOL)
        branch = build.branch()
        tables = [branch.concat([*names, part.name], axis=0) for *names, part in zip(*buffered, parts, strict=True)]
        joined = [replace(part, name=table) for part, table in zip(parts, tables, strict=True)]
        inside = [f"product.{j}" for j in range(len(sizes))]
        inside = _add_products(branch, joined, shift, before=before, after=inside, edges=edges, masked=masked)
        sums = build.compute_if(last, branch, inside, after)
    for name, size in zip(sums, sizes, strict=True):
        build.output(name, *size)
    return Sums(edges, tuple(before), tuple(sums), tuple(buffered), last)


def add_tallies(build: Builder, tables: Tables, classes: Sequence[int] | None = None) -> tuple[str, str]:
    """Add the nodes that sum `SCORES` in an accumulator of shape (2, 1); returns its names before and after.

    Args:
        build: collects the nodes.
        tables: the parts of z.
        classes: numbers of the classes that have a column in the targets; None for all.
    """
    logits = add_logits(build, tables.outputs)
    hits = build.add("Equal", [build.choose(logits), build.choose(tables.labels, classes)])
    # The runtime's LogSoftmax subtracts the largest output first, so that large outputs do not overflow.
    logarithms = build.add("LogSoftmax", [logits], axis=1)
    if classes is not None:
        logarithms = build.add("Gather", [logarithms, build.integers(list(classes))], axis=1)
    chosen = build.add("Mul", [logarithms, tables.labels])
    K = tables.targets.width if tables.targets else 0
    losses = build.add("MatMul", [chosen, build.constant(-np.ones((K, 1)))])
    tallies = build.add("Concat", [build.cast(hits, TensorProto.DOUBLE), losses], axis=1)
    before = build.input("tallies", [2, 1])
    after = build.add("Gemm", [tallies, tables.one.name, before], "tallies.next", transA=1)
    build.output(after, 2, 1)
    return before, after


def _add_buffer(build: Builder, parts: Sequence[Part], number: int) -> tuple[str, ...]:
    """Add inputs for the parts of z of an earlier batch, which may have no rows."""
    rows = f"{build.prefix}buffered.{number}"
    return tuple(
        build.input(f"buffered.{number}.{i}", [rows, part.width], part.elements) for i, part in enumerate(parts)
    )


def _add_products(
    build: Builder,
    parts: Sequence[Part],
    shift: str,
    *,
    before: Sequence[str],
    after: Sequence[str],
    edges: Sequence[int],
    masked: bool,
) -> list[str]:
    """Add the product of each two blocks of z − shift to the sum of its tile; returns the names of the new sums."""
    blocks = _add_blocks(build, parts, shift, edges)
    if masked:
        weights = build.transpose(parts[0].name)
        blocks = [build.add("Mul", [block, weights]) for block in blocks]
    return [
        build.add("Gemm", [*pair, before[j]], after[j], transB=1)
        for j, pair in enumerate(combinations_with_replacement(blocks, 2))
    ]


def _add_blocks(build: Builder, parts: Sequence[Part], shift: str, edges: Sequence[int]) -> list[str]:
    """Cut z − shift at the edges, in double and transposed to (entries, rows)."""
    pieces: list[list[str]] = [[] for _ in edges[1:]]
    start = 0
    for part in parts:
        inner_edges = [edge for edge in edges if start < edge < start + part.width]
        cuts = [start, *inner_edges, start + part.width]
        for position, piece in zip(cuts, build.split(part.name, np.diff(cuts).tolist(), axis=1), strict=False):
            block = build.transpose(piece)
            # Cast last, because cutting and transposing then move half the bytes.
            block = block if part.elements == TensorProto.DOUBLE else build.cast(block, TensorProto.DOUBLE)
            pieces[bisect_right(edges, position) - 1].append(block)
        start += part.width
    shifts = build.split(build.column(shift), np.diff(edges).tolist(), axis=0)
    blocks = [build.concat(block_pieces, axis=0) for block_pieces in pieces]
    return [build.add("Sub", [block, block_shift]) for block, block_shift in zip(blocks, shifts, strict=True)]
