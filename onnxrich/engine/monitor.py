"""Progress reports and running D_LR of a pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from onnxrich.engine.runtime import LanePool, LaneSum
from onnxrich.moments.matrix import Array
from onnxrich.progress import Listener, Progress, Stage, Timing

# Seconds between two progress reports.
REPORT_SECONDS = 0.25
# Share of the time that the running D_LR may take, and the fewest seconds between two computations.
D_LR_SHARE, D_LR_SECONDS = 0.01, 0.5
# Numbers in all blocks that a computation reads in a second, roughly: the first one too waits until it is cheap.
D_LR_RATE = 2e8


class RateLimiter:
    """Limits how often an action runs, so that it takes no more than a share of the time.

    Args:
        seconds: fewest seconds between two actions.
        share: share of the time that the action may take.
        first: seconds before the first action; `seconds` when left out.
    """

    def __init__(self, seconds: float, share: float, first: float | None = None) -> None:
        self._seconds, self._pause = seconds, seconds if first is None else first
        self._share, self._last = share, time.perf_counter()

    def is_due(self) -> bool:
        """Whether the next action is due."""
        return time.perf_counter() - self._last >= self._pause

    @contextmanager
    def measure(self, spent: float = 0.0) -> Iterator[None]:
        """Measure the action inside, and set the pause behind it.

        Args:
            spent: seconds that other threads spent on the action before.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self._last = time.perf_counter()
            self._pause = max(self._seconds, (spent + self._last - start) / self._share)


class Monitor:
    """Reports the progress of a pass with the running D_LR. Neither the monitor nor a lane waits for the other.

    Args:
        lanes: the lanes of the pass.
        span: the accumulators of the head.
        numbers: count of the head's numbers in all blocks.
        d_lr: computes D_LR from the sums of all lanes, None where it is undefined.
        total: number of samples, None for a stream.
        timing: gets the seconds of the running D_LR; gives those of reading and running.
        listen: gets the reports.
    """

    def __init__(
        self,
        lanes: LanePool,
        span: slice,
        *,
        numbers: int,
        d_lr: Callable[[Sequence[Sequence[Array]]], float | None],
        total: int | None,
        timing: Timing,
        listen: Listener,
    ) -> None:
        self._lanes, self._span, self._compute_d_lr = lanes, span, d_lr
        self._total, self._timing, self._listen = total, timing, listen
        self._d_lr_limiter = RateLimiter(max(D_LR_SECONDS, numbers / D_LR_RATE / D_LR_SHARE), D_LR_SHARE)
        self._start = self._last_report = time.perf_counter()
        self._requested: list[Future[LaneSum]] = []
        self._d_lr: float | None = None

    def report(self, samples: int, *, resumed: int = 0) -> None:
        """Report progress, and renew the running D_LR, where either is due.

        Args:
            samples: number of samples submitted to the lanes so far.
            resumed: those of them that a checkpoint held.
        """
        if not self._requested and self._d_lr_limiter.is_due():
            with self._timing.measure(Stage.MONITORING):
                self._requested = self._lanes.request_sums(self._span)
        is_new = bool(self._requested) and all(future.done() for future in self._requested)
        if is_new:
            lane_sums, self._requested = [future.result() for future in self._requested], []
            spent = max(lane_sum.seconds for lane_sum in lane_sums)
            with self._timing.measure(Stage.MONITORING), self._d_lr_limiter.measure(spent):
                self._d_lr = self._compute_d_lr([lane_sum.sums for lane_sum in lane_sums])
        if self._is_report_due() or is_new:
            rate = (samples - resumed) / (time.perf_counter() - self._start)
            waiting = self._timing.share(Stage.READING, Stage.RUNNING)
            self._listen(Progress(Stage.RUNNING, samples, self._total, rate, self._d_lr, waiting))

    def report_skipped(self, samples: int) -> None:
        """Report, where a report is due, samples that are only read because a checkpoint holds their sums."""
        if self._is_report_due():
            self._listen(Progress("reading up to the checkpoint", samples, self._total))
        self._start = time.perf_counter()

    def _is_report_due(self) -> bool:
        now = time.perf_counter()
        is_due = now - self._last_report >= REPORT_SECONDS
        self._last_report = now if is_due else self._last_report
        return is_due
