"""Where the time goes: each second is booked once, and reading is reading wherever it is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from zoo_text import build

import onnxrich
from onnxrich import progress as timing


def test_a_stage_inside_of_another_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that is set by hand: 1 + 8 s of the outer stage, 2 + 4 s of the inner one, which comes twice."""
    now = 0.0
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    measured = timing.Timing()
    with measured.measure("outer"):
        now += 1
        with pytest.raises(KeyError), measured.measure("inner"):
            now += 2
            raise KeyError
        with measured.measure("inner"):
            now += 4
        now += 8
    now += 16
    assert measured.seconds == {"outer": 9, "inner": 6}
    assert (measured.of("inner", "outer", "none"), measured.share("inner", "outer")) == (15, 6 / 15)


def test_the_first_batch_is_read_as_the_others_are() -> None:
    """Data that come slowly are read slowly, also where one batch holds them all; no model is loaded meanwhile."""

    def items() -> Iterator[dict[str, np.ndarray]]:
        time.sleep(0.5)
        yield {"x": np.ones((32, 6), np.float32)}

    model = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)")
    runtime = onnxrich.run(model, items(), batch_size=32, device="cpu").record.runtime
    assert 0.5 <= runtime.profile["reading"] <= runtime.seconds <= sum(runtime.profile.values())
