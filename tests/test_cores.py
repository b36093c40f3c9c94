"""How runs and matrix products share the cores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from onnxrich import cores, session


@pytest.mark.parametrize(
    ("there", "runs", "blocks", "lanes"),
    [
        (1, None, 16, 1),
        (2, None, 16, 2),
        (8, None, 16, 4),  # no more than four
        (2, 16, 16, 2),
        (2, 15, 16, 1),  # fewer than eight runs each
        (2, 0, 16, 1),
        (2, None, 1, 1),  # a block belongs to one lane
        (2, None, 7, 1),  # one of two lanes would have four blocks, the other three
        (3, None, 16, 1),  # two lanes of one thread would leave a core idle
        (3, None, 6, 3),
        (6, None, 16, 2),
    ],
)
def test_lanes(monkeypatch: pytest.MonkeyPatch, there: int, runs: int | None, blocks: int, lanes: int) -> None:
    """As many runs at once as leave no core without work."""
    monkeypatch.setattr(cores, "usable_cores", lambda: there)
    assert cores.lanes(runs, blocks) == lanes


@pytest.mark.parametrize(("there", "lanes", "threads"), [(8, 1, 8), (8, 4, 2), (3, 2, 1), (1, 4, 1)])
def test_lanes_share_the_threads(monkeypatch: pytest.MonkeyPatch, there: int, lanes: int, threads: int) -> None:
    """Each run has its share of the cores."""
    monkeypatch.setattr("onnxrich.session.engine.usable_cores", lambda: there)
    device = replace(session.choose("cpu"), lanes=lanes)
    assert session.engine._options(None, device).intra_op_num_threads == threads  # type: ignore[attr-defined]


def blas_threads() -> set[int]:
    """Numbers of threads of the libraries that multiply matrices."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_quiet() -> None:
    """Small products run in the caller's thread, large ones and later ones in as many as before."""
    before = blas_threads()
    with cores.quiet(1e6):
        assert blas_threads() == {1}
    assert blas_threads() == before
    with cores.quiet(1e12):
        assert blas_threads() == before
