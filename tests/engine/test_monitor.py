"""What a pass tells while it runs, and how little of its time that takes."""

from __future__ import annotations

import time
from concurrent.futures import Future

import numpy as np
import pytest

from onnxrich.engine import monitor as looking
from onnxrich.engine.runtime import LaneSum
from onnxrich.progress import Progress, Timing


class Lanes:
    """Lanes that are asked for their sums, and give them when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Future[LaneSum]] = []

    def totals(self, part: slice) -> list[Future[LaneSum]]:
        self.asked.append(Future())
        return [self.asked[-1]]


def looks(lanes: Lanes, heard: list[Progress]) -> looking.Monitor:
    """What looks at one number, the sum itself."""
    return looking.Monitor(
        lanes, slice(None), numbers=1, d_lr=lambda totals: float(totals[0][0][0, 0]), total=100, timing=Timing(),
        listen=heard.append,
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_look_waits_for_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far the pass is, is told meanwhile; D_LR when the lanes have given their sums; then they are asked anew."""
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(looking, "TELL_SECONDS", 0.0)
    lanes, heard = Lanes(), list[Progress]()
    watched = looks(lanes, heard)
    for samples in (10, 20):
        watched.step(samples)
    assert [(each.rows, each.d_lr) for each in heard] == [(10, None), (20, None)]
    assert len(lanes.asked) == 1
    lanes.asked[0].set_result(LaneSum([np.full((1, 1), 0.25)], 0.0))
    watched.step(30)
    assert (heard[-1].rows, heard[-1].d_lr, heard[-1].total) == (30, 0.25, 100)
    time.sleep(0.01)
    watched.step(40)
    assert heard[-1].d_lr == 0.25 and len(lanes.asked) == 2


def test_lanes_that_take_long_are_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lanes spend on a look is part of the share that looks may take."""
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.0)
    lanes = Lanes()
    watched = looks(lanes, [])
    watched.step(10)
    lanes.asked[0].set_result(LaneSum([np.zeros((1, 1))], 0.5))
    watched.step(20)
    time.sleep(0.02)
    watched.step(30)
    assert len(lanes.asked) == 1  # half a second is a hundredth of 50 seconds


def test_words_come_at_a_pace() -> None:
    """Steps that follow at once are not told; skipped samples are told as such."""
    heard = list[Progress]()
    watched = looks(Lanes(), heard)
    for samples in range(100):
        watched.step(samples)
    assert heard == []
    time.sleep(looking.TELL_SECONDS)
    watched.skip(7)
    watched.skip(8)
    assert [(each.stage, each.rows) for each in heard] == [("reading up to the checkpoint", 7)]
