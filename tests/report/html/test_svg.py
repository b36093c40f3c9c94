"""Scales with round ticks, and paths that lose nothing visible."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxrich.moments.matrix import Array
from onnxrich.report.html.svg import Scale, path, visible_points


def curve(seed: int, n: int) -> tuple[Array, Array]:
    """A random curve of n points, with flat runs, over 300 pixels."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=n) * rng.integers(0, 2, n)
    return np.sort(rng.uniform(46, 346, n)), 100 + steps.cumsum()


def corners(path: str) -> Array:
    """The points of a path, float64 array of shape (n, 2)."""
    moves = [[float(part) for part in point.removesuffix("h0").split()] for point in path.removeprefix("M").split("l")]
    return np.cumsum(moves, axis=0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3000))
def test_pixel_columns_keep_their_extent(seed: int, n: int) -> None:
    """Each pixel column has at most two points beside the ends of the curve, the lowest and the highest of all."""
    x, y = curve(seed, n)
    visible = visible_points(x, y)
    assert visible[0] == 0 and visible[-1] == n - 1 and (np.diff(visible) > 0).all()
    for column in np.unique(np.floor(x)):
        drawn = visible[np.floor(x[visible]) == column]
        members = y[np.floor(x) == column]
        assert (y[drawn].min(), y[drawn].max()) == (members.min(), members.max())
        assert len([point for point in drawn if point not in (0, n - 1)]) <= 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 300))
def test_path_goes_through_its_points(seed: int, n: int) -> None:
    """The path passes each point that it draws within the rounding to tenths, which does not accumulate."""
    x, y = curve(seed, n)
    drawn = corners(path(x, y))
    visible = visible_points(x, y)
    points = np.column_stack([x, y])[visible]
    # Half of a tenth in each direction; 1e-9: relative moves are added up.
    tolerance = 0.05 * np.sqrt(2) + 1e-9
    assert np.hypot(*(drawn[[0, -1]] - points[[0, -1]]).T).max() <= tolerance
    for point in points:
        # The nearest place of the path: along the segment between two corners.
        starts, chords = drawn[:-1], np.diff(drawn, axis=0)
        along = ((point - starts) * chords).sum(1) / np.maximum((chords**2).sum(1), 1e-12)
        nearest = starts + np.clip(along, 0, 1)[:, None] * chords
        assert np.hypot(*(nearest - point).T).min() <= tolerance


def test_flat_runs_cost_their_ends() -> None:
    """Ten thousand points at one height are two, a single point is a dot, and no point is no path."""
    x = np.linspace(46, 360, 10_000)
    assert path(x, np.full(10_000, 12.0)) == "M46 12l314 0"
    assert path(np.array([46.0]), np.array([12.25])) == "M46 12.2h0"
    assert path(np.array([]), np.array([])) == ""


def labels(scale: Scale) -> list[str]:
    return [label for _, label in scale.ticks()]


def test_ticks_are_round() -> None:
    """Linear scales count in round steps, long logarithmic ones in powers of ten, short ones in 1, 2, 5."""
    assert labels(Scale(0, 1, 200, 0)) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert labels(Scale(1, 8, 0, 1, log=True)) == ["1", "2", "5"]
    assert labels(Scale(125, 2000, 0, 1, log=True)) == ["200", "500", "1,000", "2,000"]
    assert labels(Scale(1, 2048, 0, 1, log=True)) == ["1", "10", "100", "1,000"]
    assert labels(Scale(1e-4, 1, 0, 1, log=True)) == ["10⁻⁴", "10⁻³", "10⁻²", "0.1", "1"]
    assert labels(Scale(1, 2, 0, 1, integer=True)) == ["1", "2"]


def test_ticks_are_round_wherever_the_scale_begins() -> None:
    """A scale from 0.467 has its ticks at round values, inside."""
    assert labels(Scale(0.467, 0.573, 222, 12)) == ["0.475", "0.5", "0.525", "0.55"]


@settings(max_examples=50, deadline=None)
@given(st.floats(-16, 6), st.floats(0.05, 16), st.booleans())
def test_ticks_lie_on_the_axis(exponent: float, decades: float, log: bool) -> None:
    """Any scale has a tick or more, none beyond its ends, and never so many that labels touch."""
    low, high = 10.0**exponent, 10.0 ** (exponent + decades)
    ticks = Scale(low, high, 222, 12, log=log).ticks()
    assert 1 <= len(ticks) <= 10
    assert all(12 <= place <= 222 for place, _ in ticks)


def test_zero_stands_at_the_start_of_a_logarithmic_axis() -> None:
    """A scale whose start stands for 0 says so, and has no tick right beside it."""
    places, names = zip(*Scale(5, 1000, 46, 360, log=True, from_zero=True).ticks(), strict=True)
    assert names == ("0", "10", "100", "1,000")
    assert places[0] == 46 and places[1] - places[0] > 30


def test_scale_places_its_ends() -> None:
    """The ends of the values lie at the ends of the drawing, and the middle of a logarithm in its middle."""
    scale = Scale(1, 100, 10, 20, log=True)
    assert scale(np.array([1.0, 10.0, 100.0])).tolist() == [10.0, 15.0, 20.0]
