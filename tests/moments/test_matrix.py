"""The laws of the moment matrix, and its file."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxrich.errors import DataError
from onnxrich.moments.matrix import Moments, load_record, merge_all
from onnxrich.moments.targets import one_hot

LAWS = settings(max_examples=40, deadline=None, derandomize=True)


def rows(seed: int, n: int, mean: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 5)) + mean, rng.standard_normal((n, 3)), rng.integers(0, 3, n)


def raw(moments: Moments) -> np.ndarray:
    """The matrix about zero."""
    return moments.about(np.zeros_like(moments.shift)).matrix


def assert_same_rows(a: Moments, b: Moments) -> None:
    """Both describe the same rows, to rounding of sums of squares."""
    scale = max(1.0, float(np.abs(raw(a)).max()))
    np.testing.assert_allclose(raw(a) / scale, raw(b) / scale, atol=1e-13)
    assert a.tallies.keys() == b.tallies.keys()
    for name, value in a.tallies.items():
        assert b.tallies[name] == pytest.approx(value, rel=1e-13)


@LAWS
@given(st.integers(0, 999), st.lists(st.integers(0, 40), min_size=1, max_size=5), st.floats(-1e3, 1e3))
def test_cut_and_merge(seed: int, sizes: list[int], mean: float) -> None:
    """Moments of parts, each about a shift of its own, merge to those of the whole."""
    features, outputs, labels = rows(seed, sum(sizes), mean)
    merged = Moments.empty(5, 3, 3, targets="classes")
    start = 0
    for size in sizes:
        cut = slice(start, start + size)
        part = Moments.from_rows(features[cut], outputs[cut], one_hot(labels[cut], C=3, K=3)[0])
        part = Moments(part.matrix, part.shift, 5, 3, 3, "classes")
        merged, start = merged.merge(part), start + size
    whole = Moments.from_rows(features, outputs, labels if len(labels) else None)
    if len(labels):
        np.testing.assert_allclose(raw(merged), raw(whole), rtol=1e-9, atol=1e-9 * max(1, mean**2) * len(labels))


@LAWS
@given(st.integers(0, 999), st.floats(-1e3, 1e3))
def test_merge_is_associative_and_commutative(seed: int, mean: float) -> None:
    """(a + b) + c = a + (b + c) = c + (b + a), and the empty moments change nothing."""
    a, b, c = (Moments.from_rows(*rows(seed + k, 20 + k, mean * k)) for k in range(3))
    assert_same_rows(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert_same_rows(a.merge(b).merge(c), c.merge(b.merge(a)))
    empty = Moments.empty(5, 3, 3, targets="classes")
    np.testing.assert_array_equal(empty.merge(a).matrix, a.matrix)
    np.testing.assert_array_equal(a.merge(empty).matrix, a.matrix)


def test_merge_leaves_its_operands() -> None:
    """`merge` makes a new object: run twice, it counts nothing twice."""
    a, b = (Moments.from_rows(*rows(seed, 30)) for seed in (0, 1))
    before = a.matrix.copy(), b.matrix.copy()
    once, twice = a.merge(b), a.merge(b)
    assert once.n == twice.n == 60
    np.testing.assert_array_equal(a.matrix, before[0])
    np.testing.assert_array_equal(b.matrix, before[1])


def test_merge_refuses_other_kinds() -> None:
    """Moments of another model can't be merged."""
    a = Moments.from_rows(*rows(0, 30))
    with pytest.raises(DataError, match="Merge only moments of one model"):
        a.merge(Moments.empty(6, 3, 3, targets="classes"))
    with pytest.raises(DataError, match="the same p, C, K"):
        a.merge(Moments.empty(5, 3))


@pytest.mark.parametrize("shift", [None, np.arange(12.0), np.zeros(12)])
def test_blocks_are_plain_sums(shift: np.ndarray | None) -> None:
    """Means, centred and raw blocks equal NumPy's on the rows, whatever the shift."""
    features, outputs, labels = rows(0, 200, mean=50.0)
    got = Moments.from_rows(features, outputs, labels, shift=shift)
    np.testing.assert_allclose(got.mean("features"), features.mean(axis=0), rtol=1e-13)
    # About a shift that is 50 off, sums of squares are 2500 times the variance: 2500 eps, and ten times room.
    np.testing.assert_allclose(got.centered("features", "features") / 199, np.cov(features.T), rtol=1e-11, atol=6e-12)
    np.testing.assert_allclose(got.raw("features", "outputs"), features.T @ outputs, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(got.raw("targets", "targets"), np.diag(np.bincount(labels)), atol=1e-11)


def test_weights_of_zero_drop_rows() -> None:
    """A weight of 0 is a row left out; a weight of 2 is a row twice."""
    features, outputs, labels = rows(0, 60)
    keep = np.random.default_rng(1).integers(0, 3, 60)
    weighted = Moments.from_rows(features, outputs, labels, weights=keep)
    index = np.repeat(np.arange(60), keep)
    assert_same_rows(weighted, Moments.from_rows(features[index], outputs[index], labels[index]))


def test_a_large_mean_costs_no_digits() -> None:
    """About the pilot shift, variances of features with |mean|/std = 1e6 keep ten digits; about zero they would not."""
    rng = np.random.default_rng(0)
    plain = np.round(rng.standard_normal((500, 3)) * 2**20) / 2**20
    moved, outputs = plain + 2.0**20, plain[:, :1]
    expected = np.cov(plain.T)
    good = Moments.from_rows(moved, outputs).centered("features", "features") / 499
    np.testing.assert_allclose(good, expected, rtol=1e-10)
    zero = Moments.from_rows(moved, outputs, shift=np.zeros(5)).centered("features", "features") / 499
    assert np.abs(zero - expected).max() > 1e-8


@pytest.mark.parametrize("tallies", [{}, {"correct": 17.0, "cross_entropy": 30.1}])
def test_file_round_trip(tmp_path: Path, tallies: dict[str, float]) -> None:
    """A saved file gives back the same numbers to the bit, with its record; through a stream too."""
    moments = Moments.from_rows(*rows(0, 40))
    moments = Moments(moments.matrix, moments.shift, 5, 3, 3, "classes", "float32", 1e-7, tallies)
    stream = io.BytesIO()
    moments.save(stream, {"model": "ü.onnx"})
    moments.save(tmp_path / "m.npz", {"model": "ü.onnx"})
    stream.seek(0)
    for file in (stream, tmp_path / "m.npz"):
        got, record = load_record(file)
        np.testing.assert_array_equal(got.matrix, moments.matrix)
        np.testing.assert_array_equal(got.shift, moments.shift)
        assert (got.p, got.C, got.K, got.targets, got.dtype) == (5, 3, 3, "classes", "float32")
        assert (got.residual, got.tallies) == (1e-7, tallies)
        assert record == {"model": "ü.onnx"}


@pytest.mark.parametrize("C", [1, 3])
def test_tallies(C: int) -> None:
    """Hits and cross-entropy are those of the definition, row by row; also where exp overflows and with weights."""
    rng = np.random.default_rng(0)
    outputs, labels = 400 * rng.standard_normal((50, C)), rng.integers(0, max(C, 2), 50)
    weights = rng.random(50)
    got = Moments.from_rows(rng.standard_normal((50, 4)), outputs, labels, weights=weights).tallies
    logits = np.column_stack([np.zeros(50), outputs]) if C == 1 else outputs
    correct = loss = 0.0
    for row, label, weight in zip(logits, labels, weights, strict=True):
        correct += weight * (int(np.argmax(row)) == label)
        # log Σ exp(f_j − f_label), with the sum in extended precision: exp(±1600) fits its exponent.
        loss += weight * float(np.log(np.exp((row - row[label]).astype(np.longdouble)).sum()))
    assert got == {"correct": pytest.approx(correct, rel=1e-13), "cross_entropy": pytest.approx(loss, rel=1e-13)}


@given(st.integers(1, 9), st.integers(0, 99))
def test_merge_all(parts: int, seed: int) -> None:
    """The tree of merges gives the moments of all rows, in the same bits each time, and changes no part."""
    blocks = [Moments.from_rows(*rows(seed + i, 20, mean=7.0)) for i in range(parts)]
    before = [part.matrix.copy() for part in blocks]
    whole = [
        np.concatenate(column) for column in zip(*(rows(seed + i, 20, mean=7.0) for i in range(parts)), strict=True)
    ]
    assert_same_rows(merge_all(blocks), Moments.from_rows(*whole))
    np.testing.assert_array_equal(merge_all(blocks).matrix, merge_all(blocks).matrix)
    for part, matrix in zip(blocks, before, strict=True):
        np.testing.assert_array_equal(part.matrix, matrix)


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_bad_files(tmp_path: Path) -> None:
    """Missing, truncated, foreign and pickled files are each an error with its remedy; nothing is unpickled."""
    good = tmp_path / "good.npz"
    Moments.from_rows(*rows(0, 40)).save(good)
    (tmp_path / "short.npz").write_bytes(good.read_bytes()[:-200])
    (tmp_path / "text.npz").write_text("no moments")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Canary(tmp_path / "executed")))
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    objects = {"schema": np.array("onnxrich.moments/1"), "matrix": np.array([Canary(tmp_path / "executed")])}
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **objects)
    for name in ("missing", "short", "text", "empty", "pickle", "foreign", "objects"):
        with pytest.raises(DataError, match=r"needed: a whole `moments.npz`.*onnxrich run --output"):
            Moments.load(tmp_path / f"{name}.npz")
    assert not (tmp_path / "executed").exists()


def test_a_shift_that_is_given_is_not_changed() -> None:
    """The first entry of a shift counts as 0, in a copy of it."""
    shift = np.ones(3)
    moments = Moments.from_rows([[1.0], [2.0]], [[1.0], [3.0]], shift=shift)
    assert shift.tolist() == [1.0, 1.0, 1.0]
    assert moments.shift.tolist() == [0.0, 1.0, 1.0]
