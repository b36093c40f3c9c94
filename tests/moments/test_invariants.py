"""Moments of rows fulfil the laws, whatever the rows; moments that were edited do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxrich.moments.invariants import find_violation
from onnxrich.moments.matrix import Moments

LAWS = settings(max_examples=60, deadline=None, derandomize=True)
RNG = np.random.default_rng(0)
FEATURES, OUTPUTS, LABELS = RNG.standard_normal((50, 4)), RNG.standard_normal((50, 3)), RNG.integers(0, 3, 50)
MOMENTS = Moments.from_rows(FEATURES, OUTPUTS, LABELS)
N = 50


@LAWS
@given(
    seed=st.integers(0, 999),
    n=st.integers(0, 40),
    scales=st.lists(st.sampled_from([0.0, 1e-150, 1e-30, 1e-3, 1.0, 1e6, 1e30]), min_size=4, max_size=4),
    mean=st.sampled_from([0.0, 1.0, 1e5, -1e8]),
    targets=st.sampled_from(["classes", "values", None]),
    weighted=st.booleans(),
)
def test_rows_fulfil_them(
    seed: int, n: int, scales: list[float], mean: float, targets: str | None, weighted: bool
) -> None:
    """Few rows and many, dead features, features of any size beside large means, weights, any labels; and merges."""
    rng = np.random.default_rng(seed)
    parts = []
    for rows in (n, 7):
        features = rng.standard_normal((rows, 4)) * scales + mean
        outputs = (features @ rng.standard_normal((4, 3))).astype(np.float32)
        labels = {"classes": rng.integers(0, 3, rows), "values": rng.standard_normal((rows, 2)) + mean, None: None}
        weights = rng.integers(0, 3, rows) * 0.5 if weighted else None
        parts.append(Moments.from_rows(features, outputs, labels[targets], weights=weights))
        assert find_violation(parts[-1]) is None
    assert find_violation(parts[0].merge(parts[1])) is None
    assert find_violation(parts[1].without_outputs([1])) is None


@pytest.mark.parametrize("n", [1, 2, 5, 3000])
@pytest.mark.parametrize("value", [0.1, -7e5 / 3, 1e-20])
def test_constant_features_of_merged_parts(n: int, value: float) -> None:
    """Means of equal numbers differ in their last digits: about the mean of another part, only rounding is left."""
    parts = []
    for rows in (n, 5000):
        features = RNG.standard_normal((rows, 4))
        features[:, 0] = value
        parts.append(Moments.from_rows(features, features[:, :3], RNG.integers(0, 3, rows)))
    for first, second in (parts, parts[::-1]):
        assert find_violation(first.merge(second)) is None
        assert find_violation(first.about(second.shift)) is None


def _edit(change: Callable[[np.ndarray], object]) -> Moments:
    matrix = MOMENTS.matrix.copy()
    change(matrix)
    return replace(MOMENTS, matrix=matrix)


def _set(*places: tuple[int, int], value: float) -> Callable[[np.ndarray], object]:
    return lambda matrix: [matrix.__setitem__(place, value) for place in places]


@pytest.mark.parametrize(
    ("edited", "reason"),
    [
        (_edit(_set((2, 2), value=np.nan)), "NaN or infinity"),
        (_edit(_set((2, 3), value=np.inf)), "NaN or infinity"),
        (replace(MOMENTS, shift=MOMENTS.shift * np.nan), "NaN or infinity"),
        (_edit(_set((0, 0), value=-50)), "count -50 rows"),
        (_edit(_set((0, 0), value=2.0**60)), "rows"),
        (_edit(_set((0, 0), value=N + 1)), "one class a row"),
        (_edit(_set((0, 0), value=N - 0.5)), "one class a row"),
        (_edit(_set((2, 2), value=-1)), "below zero"),
        (_edit(_set((2, 3), value=0.1)), "positive semidefinite"),
        (_edit(_set((2, 3), (3, 2), value=1e3)), "positive semidefinite"),
        (_edit(_set((2, 2), value=0)), "positive semidefinite"),
        (_edit(lambda matrix: matrix.__setitem__((slice(1, 5), slice(1, 5)), matrix[1:5, 1:5] / 10)), "semidefinite"),
        (replace(MOMENTS, shift=MOMENTS.shift + 1), "first entry"),
        (replace(MOMENTS, residual=-1e-9), "residual"),
        (replace(MOMENTS, residual=np.nan), "residual"),
        (replace(MOMENTS, targets=None), "3 targets, of kind None"),
        (replace(MOMENTS, targets="values"), "scores of classes"),
        (replace(MOMENTS, tallies={"correct": 51.0}), "scores"),
        (replace(MOMENTS, tallies={"correct": -1.0}), "scores"),
        (replace(MOMENTS, tallies={"correct": 10.0, "cross_entropy": 27.0}), "scores"),
        (replace(MOMENTS, tallies={"cross_entropy": -1.0}), "scores"),
    ],
)
def test_edited_moments(edited: Moments, reason: str) -> None:
    """Counts, shapes, labels and scores that no rows have."""
    violation = find_violation(edited)
    assert violation is not None and reason in violation


def test_infinite_cross_entropy() -> None:
    """A model may exclude a class that occurs."""
    assert find_violation(replace(MOMENTS, tallies={"correct": 10.0, "cross_entropy": np.inf})) is None
