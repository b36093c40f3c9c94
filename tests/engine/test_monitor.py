"""Progress reports and running D_LR: what a listener hears, and how little of the pass's time that takes."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest
from clock import Clock

from onnxrich.engine import monitor
from onnxrich.engine.monitor import Monitor, RateLimiter
from onnxrich.engine.runtime import LaneSum
from onnxrich.progress import Progress, Timing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the monitor."""
    clock = Clock()
    monkeypatch.setattr(monitor, "time", clock)
    return clock


class Lanes:
    """Lanes that give their sums when the test says so."""

    def __init__(self) -> None:
        self.requested: list[Future[LaneSum]] = []

    def request_sums(self, span: slice) -> list[Future[LaneSum]]:
        self.requested.append(Future())
        return [self.requested[-1]]


def monitor_of(lanes: Lanes, reports: list[Progress]) -> Monitor:
    """A monitor of one number, whose D_LR is the sum itself."""
    return Monitor(
        lanes, slice(None), numbers=1, d_lr=lambda sums: float(sums[0][0][0, 0]), total=100, timing=Timing(),
        listen=reports.append,
    )  # type: ignore[arg-type]  # fmt: skip


def lane_sum(value: float, seconds: float) -> LaneSum:
    """The sums of a lane: one number."""
    return LaneSum([np.full((1, 1), value)], seconds)


def test_reports_wait_for_no_lane(clock: Clock) -> None:
    """Progress is reported while lanes add up; D_LR follows when they are done, and then they are asked again."""
    lanes, reports = Lanes(), list[Progress]()
    watcher = monitor_of(lanes, reports)
    for samples in (10, 20):
        clock.advance(monitor.D_LR_SECONDS)
        watcher.report(samples)
    assert [(report.rows, report.d_lr) for report in reports] == [(10, None), (20, None)]
    assert len(lanes.requested) == 1
    lanes.requested[0].set_result(lane_sum(0.25, 0.0))
    watcher.report(30)
    assert (reports[-1].rows, reports[-1].d_lr, reports[-1].total) == (30, 0.25, 100)
    clock.advance(monitor.D_LR_SECONDS)
    watcher.report(40)
    assert reports[-1].d_lr == 0.25 and len(lanes.requested) == 2


def test_slow_lanes_are_asked_seldom(clock: Clock) -> None:
    """The seconds that lanes spend on their sums count in the share that the running D_LR may take."""
    lanes = Lanes()
    watcher = monitor_of(lanes, [])
    clock.advance(monitor.D_LR_SECONDS)
    watcher.report(10)
    lanes.requested[0].set_result(lane_sum(0.0, 0.5))
    watcher.report(20)
    # Half a second is a hundredth of 50 seconds.
    clock.advance(49.0)
    watcher.report(30)
    assert len(lanes.requested) == 1
    clock.advance(1.0)
    watcher.report(40)
    assert len(lanes.requested) == 2


def test_reports_are_limited(clock: Clock) -> None:
    """Reports in quick succession are left out; skipped samples are reported as such."""
    reports = list[Progress]()
    watcher = monitor_of(Lanes(), reports)
    for samples in range(100):
        watcher.report(samples)
    assert reports == []
    clock.advance(monitor.REPORT_SECONDS)
    watcher.report_skipped(7)
    watcher.report_skipped(8)
    assert [(report.stage, report.rows) for report in reports] == [("reading up to the checkpoint", 7)]


def test_the_rate_leaves_out_what_a_checkpoint_held(clock: Clock) -> None:
    """Samples a second are those that were run, over the time since the last skipped one."""
    reports = list[Progress]()
    watcher = monitor_of(Lanes(), reports)
    clock.advance(50.0)
    watcher.report_skipped(60)
    clock.advance(2.0)
    watcher.report(80, resumed=60)
    assert reports[-1].rate == 10.0


def test_an_action_takes_a_share_of_the_time(clock: Clock) -> None:
    """The pause behind an action is its duration over the share, and no shorter than the fewest seconds."""
    limiter = RateLimiter(5.0, 0.1, first=1.0)
    for duration, pause in ((0.0, 1.0), (0.2, 5.0), (3.0, 5.0), (0.0, 30.0)):
        clock.advance(pause - 0.5)
        assert not limiter.is_due()
        clock.advance(0.5)
        assert limiter.is_due()
        with limiter.measure():
            clock.advance(duration)
