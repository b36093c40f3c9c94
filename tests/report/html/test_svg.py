"""Scales and thinned paths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxrich.report import _svg


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(0.01, 50))
def test_thinned_curve_stays_near(seed: int, n: int, tolerance: float) -> None:
    """No point that is left out lies farther than the tolerance from what is drawn instead; the ends are kept."""
    rng = np.random.default_rng(seed)
    points = np.column_stack([np.cumsum(rng.random(n)), rng.normal(size=n).cumsum()])
    kept = _svg.thin(points, tolerance)
    assert kept[0]
    assert kept[-1]
    drawn = np.flatnonzero(kept)
    for first, last in pairwise(drawn):
        chord = points[last] - points[first]
        offsets = points[first : last + 1] - points[first]
        along = np.clip(offsets @ chord / max(float(chord @ chord), 1e-12), 0, 1)
        # 1e-9: rounding of coordinates of size 1e2.
        assert np.hypot(*(offsets - along[:, None] * chord).T).max() <= tolerance + 1e-9


def test_straight_line_becomes_its_ends() -> None:
    """Ten thousand points on a line cost two."""
    x = np.linspace(0, 100, 10_000)
    assert _svg.thin(np.column_stack([x, 2 * x]), 0.01).sum() == 2


def test_ticks_are_round() -> None:
    """Linear scales count in round steps, long logarithmic ones in powers of ten, short ones in 1, 2, 5."""
    assert [label for _, label in _svg.Scale(0, 1, 200, 0).ticks()] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [label for _, label in _svg.Scale(1, 8, 0, 1, log=True).ticks()] == ["1", "2", "5"]
    assert [label for _, label in _svg.Scale(1, 2048, 0, 1, log=True).ticks()] == ["1,000", "100", "10", "1"]
    assert [label for _, label in _svg.Scale(1e-4, 1, 0, 1, log=True).ticks()] == ["1", "0.1", "10⁻²", "10⁻³", "10⁻⁴"]


def test_scale_places_its_ends() -> None:
    """The ends of the values lie at the ends of the drawing, and the middle of a logarithm in its middle."""
    scale = _svg.Scale(1, 100, 10, 20, log=True)
    assert scale(np.array([1.0, 10.0, 100.0])).tolist() == [10.0, 15.0, 20.0]


def test_ticks_are_round_wherever_the_scale_begins() -> None:
    """A scale from 0.467 has its ticks at round values, inside."""
    ticks = _svg.Scale(0.467, 0.573, 222, 12).ticks()
    assert [label for _, label in ticks] == ["0.475", "0.5", "0.525", "0.55"]
    assert all(12 <= place <= 222 for place, _ in ticks)
