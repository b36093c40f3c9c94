"""The product of a patch: entries of z for the rows of a batch in, block rows of the moment matrix out.

ONNX has no product that knows that its result is symmetric, so the matrix is cut in block rows, each computed from its
diagonal on. Tables lie transposed, (entries, rows): then the product takes both its factors as they lie in memory, and
cutting a table copies whole stretches. `benchmarks/RESULTS.md` has what other ways cost.

Each product reads and writes all sums, d²/2 numbers, however few rows it adds. So the rows of several short runs can be
kept on the device, to be added by one product with those of the last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from onnx import TensorProto

from onnxrich.rewrite.builder import Builder
from onnxrich.rewrite.tables import Part

# Columns of one block row of the moment matrix. With b block rows (b + 1)/2b of the product is computed; much narrower
# blocks make the product itself slower, and more block rows than this save little.
PANEL = 208
MOST_PANELS = 8


@dataclass(frozen=True)
class Sums:
    """Names by which the sums are driven, as `rewrite.Patch` describes them."""

    edges: tuple[int, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    held: tuple[tuple[str, ...], ...]
    last: str | None


def panel_edges(d: int) -> tuple[int, ...]:
    """Where the block rows of a d × d moment matrix begin, and d at the end."""
    count = min(MOST_PANELS, max(1, round(d / PANEL)))
    return tuple(int(edge) for edge in np.linspace(0, d, count + 1))


def accumulate(
    build: Builder, parts: Sequence[Part], shift: str, *, masked: bool, runs: int = 1, last: str | None = None
) -> Sums:
    """Adds the nodes that sum (z − shift)(z − shift)ᵀ over the rows.

    Args:
        build: collects the nodes.
        parts: of z, in order; the first is a one, or the weight of each row, 0 or 1.
        shift: name of a tensor of shape (1, d).
        masked: whether there are rows of weight 0.
        runs: how many runs are to be added by one product; each is where the operator set knows no other way.
        last: the input that says whether a run is the last of these, where there is one already.
    """
    edges = panel_edges(sum(part.width for part in parts))
    sizes = [(stop - start, edges[-1] - start) for start, stop in pairwise(edges)]
    before = [build.input(f"moments.{j}", list(size)) for j, size in enumerate(sizes)]
    after = [f"moments.{j}.next" for j in range(len(sizes))]
    # Before operator set 11 both branches of an If had to have the same shape.
    held = [_held(build, parts, run) for run in range(runs - 1 if build.opset >= 11 else 0)]
    if not held:
        made = _products(build, parts, shift, before=before, after=after, edges=edges, masked=masked)
    else:
        last = last or build.input("last", [], TensorProto.BOOL)
        inner = build.inner()
        rows = [inner.concat([*side, part.name], axis=1) for *side, part in zip(*held, parts, strict=True)]
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
    return tuple(build.input(f"held.{run}.{i}", [part.width, rows], part.elements) for i, part in enumerate(parts))


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
    """Adds (z − shift)[edges[j]:edges[j+1]] (z − shift)[edges[j]:]ᵀ to before[j]; gives the names of the sums."""
    blocks = _blocks(build, parts, shift, edges)
    if masked:
        blocks = [build.add("Mul", [block, parts[0].name]) for block in blocks]
    return [
        build.add("Gemm", [block, build.concat(blocks[j:], axis=0), before[j]], after[j], transB=1)
        for j, block in enumerate(blocks)
    ]


def _blocks(build: Builder, parts: Sequence[Part], shift: str, edges: Sequence[int]) -> list[str]:
    """z − shift in double, cut at the edges."""
    pieces: list[list[str]] = [[] for _ in edges[1:]]
    start = 0
    for part in parts:
        inner = [edge for edge in edges if start < edge < start + part.width]
        cuts = [start, *inner, start + part.width]
        for at, piece in zip(cuts, build.split(part.name, np.diff(cuts).tolist(), axis=0), strict=False):
            # In double only now: cutting moves half the bytes.
            whole = piece if part.elements == TensorProto.DOUBLE else build.cast(piece, TensorProto.DOUBLE)
            pieces[bisect_right(edges, at) - 1].append(whole)
        start += part.width
    column = build.add("Reshape", [shift, build.integers([-1, 1])])
    shifts = build.split(column, np.diff(edges).tolist(), axis=0)
    return [build.add("Sub", [build.concat(piece, axis=0), about]) for piece, about in zip(pieces, shifts, strict=True)]
