"""The product of a patch: entries of z for the rows of a batch in, tiles of the moment matrix out.

ONNX has no product that knows that its result is symmetric, so the matrix is cut into tiles, of which those on and
above the diagonal are computed. What is multiplied are blocks of some entries, (entries, rows): then the product takes
both its factors as they lie in memory. They are cut before they are transposed, so that each fits into a cache.
`benchmarks/RESULTS.md` has what other ways cost.

Each product reads and writes all sums, d²/2 numbers, however few rows it adds. So the rows of several short runs can be
kept on the device, to be added by one product with those of the last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
from onnx import TensorProto

from onnxrich.model.patch.builder import Builder
from onnxrich.model.patch.rows import Part

# Rows and columns of a tile, by the kind of memory. With b along each side (b + 1)/2b of the product is computed, but
# products that are too small for the device are slow, and more than this many save little.
TILE = {"cpu": 176, "cuda": 320}
MOST_TILES = 12


@dataclass(frozen=True)
class Sums:
    """Names by which the sums are driven, as `rewrite.Patch` describes them."""

    edges: tuple[int, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    held: tuple[tuple[str, ...], ...]
    last: str | None


def tile_edges(d: int, memory: str) -> tuple[int, ...]:
    """Where the tiles of a d × d moment matrix begin along each side, and d at the end.

    Args:
        d: width of the matrix.
        memory: kind of memory in which it lies, "cpu" or "cuda".
    """
    count = min(MOST_TILES, max(1, round(d / TILE[memory])))
    return tuple(int(edge) for edge in np.linspace(0, d, count + 1))


def tile_shapes(edges: Sequence[int]) -> list[tuple[int, int]]:
    """Shapes of the tiles on and above the diagonal, row by row."""
    return list(combinations_with_replacement(np.diff(edges).tolist(), 2))


def accumulate(
    build: Builder,
    parts: Sequence[Part],
    shift: str,
    *,
    masked: bool,
    memory: str,
    runs: int = 1,
    last: str | None = None,
) -> Sums:
    """Adds the nodes that sum (z − shift)(z − shift)ᵀ over the rows.

    Args:
        build: collects the nodes.
        parts: of z, in order; the first is a one, or the weight of each row, 0 or 1.
        shift: name of a tensor of shape (1, d).
        masked: whether there are rows of weight 0.
        memory: kind of memory in which the sums lie.
        runs: how many runs are to be added by one product; each is where the operator set knows no other way.
        last: the input that says whether a run is the last of these, where there is one already.
    """
    edges = tile_edges(sum(part.width for part in parts), memory)
    sizes = tile_shapes(edges)
    before = [build.input(f"moments.{j:02d}", list(size)) for j, size in enumerate(sizes)]
    after = [f"moments.{j:02d}.next" for j in range(len(sizes))]
    # Before operator set 11 both branches of an If had to have the same shape.
    held = [_held(build, parts, run) for run in range(runs - 1 if build.opset >= 11 else 0)]
    if not held:
        made = _products(build, parts, shift, before=before, after=after, edges=edges, masked=masked)
    else:
        last = last or build.input("last", [], TensorProto.BOOL)
        inner = build.inner()
        rows = [inner.concat([*side, part.name], axis=0) for *side, part in zip(*held, parts, strict=True)]
        whole = [replace(part, name=name) for part, name in zip(parts, rows, strict=True)]
        inside = [f"product.{j}" for j in range(len(sizes))]
        inside = _products(inner, whole, shift, before=before, after=inside, edges=edges, masked=masked)
        made = build.when(last, inner, inside, after)
    for name, size in zip(made, sizes, strict=True):
        build.output(name, *size)
    return Sums(edges, tuple(before), tuple(made), tuple(held), last)


def _held(build: Builder, parts: Sequence[Part], run: int) -> tuple[str, ...]:
    """Inputs for the parts of z that an earlier run gave, which may be of no rows."""
    rows = f"{build.mark}held.{run}"
    return tuple(build.input(f"held.{run}.{i}", [rows, part.width], part.elements) for i, part in enumerate(parts))


def _products(
    build: Builder,
    parts: Sequence[Part],
    shift: str,
    *,
    before: Sequence[str],
    after: Sequence[str],
    edges: Sequence[int],
    masked: bool,
) -> list[str]:
    """Adds the product of each two blocks of z − shift to the sum of its tile; gives the names of the sums."""
    blocks = _blocks(build, parts, shift, edges)
    if masked:
        weights = build.transposed(parts[0].name)
        blocks = [build.add("Mul", [block, weights]) for block in blocks]
    return [
        build.add("Gemm", [*pair, before[j]], after[j], transB=1)
        for j, pair in enumerate(combinations_with_replacement(blocks, 2))
    ]


def _blocks(build: Builder, parts: Sequence[Part], shift: str, edges: Sequence[int]) -> list[str]:
    """z − shift in double, cut at the edges and transposed: (entries, rows)."""
    pieces: list[list[str]] = [[] for _ in edges[1:]]
    start = 0
    for part in parts:
        inner = [edge for edge in edges if start < edge < start + part.width]
        cuts = [start, *inner, start + part.width]
        for at, piece in zip(cuts, build.split(part.name, np.diff(cuts).tolist(), axis=1), strict=False):
            # In double only now: cutting and transposing move half the bytes.
            block = build.transposed(piece)
            whole = block if part.elements == TensorProto.DOUBLE else build.cast(block, TensorProto.DOUBLE)
            pieces[bisect_right(edges, at) - 1].append(whole)
        start += part.width
    column = build.add("Reshape", [shift, build.integers([-1, 1])])
    shifts = build.split(column, np.diff(edges).tolist(), axis=0)
    return [build.add("Sub", [build.concat(piece, axis=0), about]) for piece, about in zip(pieces, shifts, strict=True)]
