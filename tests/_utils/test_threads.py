"""How runs and matrix products share the cores."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from threadpoolctl import threadpool_info
from zoo_text import two_layers

from onnxrich._utils import threads as cores
from onnxrich.engine.runtime import Session, choose_device, session
from onnxrich.model.file import read_model


@pytest.mark.parametrize(
    ("there", "runs", "blocks", "lanes"),
    [
        (1, None, 16, 1),
        (2, None, 16, 2),
        (2, 16, 16, 2),
        (2, 15, 16, 1),  # fewer than eight runs each
        (2, 0, 16, 1),
        (2, None, 1, 1),  # a block belongs to one lane
        (2, None, 7, 1),  # one of two lanes would have four blocks, the other three
        (3, None, 16, 1),
        (3, None, 6, 3),
        (4, None, 16, 4),
        (8, None, 16, 1),  # no more than four at once: a single one on all cores
    ],
)
def test_lanes(monkeypatch: pytest.MonkeyPatch, there: int, runs: int | None, blocks: int, lanes: int) -> None:
    """One run on each core, or a single one on all of them."""
    monkeypatch.setattr(cores, "usable_cores", lambda: there)
    assert cores.lane_count(runs, blocks) == lanes


@pytest.mark.parametrize(("there", "lanes"), [(8, 1), (4, 4), (3, 3), (2, 2), (1, 1)])
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux shows them")
def test_lanes_take_the_cores(monkeypatch: pytest.MonkeyPatch, there: int, lanes: int) -> None:
    """The threads that compute are as many as the cores: those that the runtime starts, and one for each run."""
    monkeypatch.setattr(session, "usable_cores", lambda: there)
    read = read_model(two_layers())
    before = len(list(Path("/proc/self/task").iterdir()))
    live = Session([read.data], folder=None, device=replace(choose_device("cpu"), lanes=lanes), name="two layers")
    started = len(list(Path("/proc/self/task").iterdir())) - before
    assert isinstance(live.inference_session, ort.InferenceSession)
    assert started + lanes == there


def blas_threads() -> set[int]:
    """Numbers of threads of the libraries that multiply matrices."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_few_threads() -> None:
    """Small products run in the caller's thread, large ones and later ones in as many as before."""
    before = blas_threads()
    with cores.single_threaded_blas(1e6):
        assert blas_threads() == {1}
    assert blas_threads() == before
    with cores.single_threaded_blas(1e12):
        assert blas_threads() == before


def test_few_threads_of_two_at_once() -> None:
    """Of two threads the first one sets the limit and lifts it, whoever leaves first."""
    before, inside, leave = blas_threads(), threading.Event(), threading.Event()

    def other() -> None:
        with cores.single_threaded_blas(1e6):
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=other)
    with cores.single_threaded_blas(1e6):
        thread.start()
        assert inside.wait(20)
        assert blas_threads() == {1}
    leave.set()
    thread.join(20)
    assert blas_threads() == before
    with cores.single_threaded_blas(1e6), cores.single_threaded_blas(1e6):
        assert blas_threads() == {1}
    assert blas_threads() == before


def test_few_threads_after_an_error() -> None:
    """What fails inside leaves no limit behind."""
    before = blas_threads()
    with pytest.raises(ValueError, match="inside"), cores.single_threaded_blas(1e6):
        raise ValueError("inside")
    assert blas_threads() == before
