"""The product of a patch: whatever its tiles, runs and weights, it sums what a plain product of all rows sums."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, checker, helper

from onnxrich.model.patch import products as product
from onnxrich.model.patch.builder import Builder
from onnxrich.model.patch.rows import Part
from onnxrich.moments.matrix import from_tiles

EPS = np.finfo(np.float64).eps


def session_of(
    widths: tuple[int, int, int], *, opset: int, runs: int, masked: bool
) -> tuple[ort.InferenceSession, product.Sums]:
    """A graph of its own that takes the parts of z, w, φ in float and the rest in double, and sums their products."""
    build = Builder("m.", opset)
    elements = (TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.DOUBLE)
    parts = [
        Part(build.input(f"part.{i}", ["rows", width], kind), width, kind)
        for i, (width, kind) in enumerate(zip(widths, elements, strict=True))
    ]
    shift = build.input("shift", [1, sum(widths)])
    sums = product.accumulate(build, parts, shift, masked=masked, batches_per_product=runs, memory="cpu")
    build.graph.name = "sums"
    model = helper.make_model(build.graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]), sums


def summed(
    live: ort.InferenceSession, sums: product.Sums, z: np.ndarray, shift: np.ndarray, groups: list[list[int]]
) -> np.ndarray:
    """The matrix that the graph sums over the rows of z, (rows, d), cut in groups of runs of so many rows."""
    p = live.get_inputs()[1].shape[1]
    tables = {0: z[:, :1], 1: z[:, 1 : 1 + p].astype(np.float32), 2: z[:, 1 + p :]}
    matrices = [np.zeros(live_input.shape) for live_input in live.get_inputs() if live_input.name in sums.before]
    at = 0
    for group in groups:
        cuts = [slice(start, stop) for start, stop in pairwise(at + np.cumsum([0, *group]))]
        runs = [[np.ascontiguousarray(table[cut]) for table in tables.values()] for cut in cuts]
        at += sum(group)
        feed = dict(zip(sums.before, matrices, strict=True)) | {"m.shift": shift[None]}
        feed |= {f"m.part.{i}": table for i, table in enumerate(runs[-1])}
        none = [table[:0] for table in runs[-1]]
        for names, parts in zip(sums.buffered, [*runs[:-1], *[none] * len(sums.buffered)], strict=False):
            feed |= dict(zip(names, parts, strict=True))
        feed |= {} if sums.last is None else {sums.last: np.array(True)}
        matrices = live.run(list(sums.after), feed)
    return from_tiles(matrices)


@settings(max_examples=60, deadline=None)
@given(
    widths=st.tuples(st.just(1), st.integers(1, 30), st.integers(1, 12)),
    tile=st.integers(1, 40),
    most=st.integers(1, 9),
    groups=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4),
    masked=st.booleans(),
    opset=st.sampled_from([9, 11, 12, 13, 17, 21]),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_do_not_depend_on_how_they_are_cut(widths, tile, most, groups, masked, opset, seed) -> None:  # type: ignore[no-untyped-def]
    """Any edges of tiles and any runs a product give Σ w (z − shift)(z − shift)ᵀ."""
    rng = np.random.default_rng(seed)
    n, d = sum(map(sum, groups)), sum(widths)
    weights = rng.integers(0, 2, n) if masked else np.ones(n)
    z = np.concatenate([weights[:, None], rng.standard_normal((n, d - 1)).astype(np.float32)], axis=1)
    shift = np.concatenate([[0.0], rng.standard_normal(d - 1)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(product.TILE, "cpu", tile)
        patched.setattr(product, "MOST_TILES", most)
        live, sums = session_of(widths, opset=opset, runs=max(map(len, groups)), masked=masked)
    if not sums.buffered:
        groups = [[size] for group in groups for size in group]
    centred = (z - shift) * weights[:, None]
    # A sum of n products in double is off by n eps of the sum of their sizes at most (Higham 2002, eq. 3.5).
    room = 2 * (n + 2) * EPS * np.abs(centred).T @ np.abs(centred) + 1e-300
    got = summed(live, sums, z, shift, groups)
    assert (np.abs(got - centred.T @ centred) <= room).all()


@pytest.mark.parametrize(("memory", "width"), [("cpu", 176), ("cuda", 320)])
def test_edges_cover_the_matrix(memory: str, width: int) -> None:
    """Tiles run from 0 to d without a gap, about as wide as they should be, and never more than twelve a side."""
    for d in (3, 208, 400, 533, 1045, 2071, 40_000):
        edges = product.tile_edges(d, memory)
        assert edges[0] == 0
        assert edges[-1] == d
        assert all(start < stop for start, stop in pairwise(edges))
        assert len(edges) - 1 == min(12, max(1, round(d / width)))


def test_rows_are_held_until_the_last_run() -> None:
    """Where runs are added together, a run that is not the last computes no product."""
    live, sums = session_of((1, 4, 2), opset=17, runs=3, masked=False)
    assert len(sums.buffered) == 2
    feed = {
        entry.name: np.ones(
            [1 if isinstance(size, str) else size for size in entry.shape],
            np.float32 if "float)" in entry.type else np.float64,
        )
        for entry in live.get_inputs()
        if entry.name != sums.last
    }
    (product_of_none,) = live.run(list(sums.after), feed | {sums.last: np.array(False)})
    assert product_of_none.shape == (0, 0)
