"""What a pass tells while it runs: how far it is, and D_LR of the rows so far as often as that costs little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from onnxrich.engine.runtime import LanePool, LaneSum
from onnxrich.moments.matrix import Array
from onnxrich.progress import Listener, Progress, Timing

# Seconds between two words on how far a pass is.
TELL_SECONDS = 0.25
# The share of the time that looking at the running result may take, and the seconds between two looks at least.
LOOK_SHARE, LOOK_SECONDS = 0.01, 0.5
# Numbers in all blocks that a look reads in a second, about: so the first look too waits until it is cheap.
LOOK_RATE = 2e8


class RateLimiter:
    """Says when something is due that is not to take more than a share of the time.

    Args:
        seconds: between two times, at least.
        share: of the time that it may take.
        first: seconds before the first time; as between two when left out.
    """

    def __init__(self, seconds: float, share: float, first: float | None = None) -> None:
        self._least, self._pause = seconds, seconds if first is None else first
        self._share, self._last = share, time.perf_counter()

    def due(self) -> bool:
        """Whether it is due."""
        return time.perf_counter() - self._last >= self._pause

    @contextmanager
    def spending(self, before: float = 0.0) -> Iterator[None]:
        """Entered while it is done; so many seconds of it were spent before, by others."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._last = time.perf_counter()
            self._pause = max(self._least, (before + self._last - begun) / self._share)


class Monitor:
    """Tells a listener how far a pass is. A look at the sums waits for no lane, and no lane for it.

    Args:
        fleet: whose sums are looked at.
        part: of the sums.
        numbers: how many there are in all blocks.
        d_lr: gives D_LR of the sums of all lanes, None where it is not defined.
        total: number of samples, None for a stream.
        timing: gets the seconds of looking, and says what reading and running took.
        listen: hears of the progress.
    """

    def __init__(
        self,
        fleet: LanePool,
        part: slice,
        *,
        numbers: int,
        d_lr: Callable[[Sequence[Sequence[Array]]], float | None],
        total: int | None,
        timing: Timing,
        listen: Listener,
    ) -> None:
        self._fleet, self._part, self._compute = fleet, part, d_lr
        self._total, self._timing, self._listen = total, timing, listen
        self._looks = RateLimiter(max(LOOK_SECONDS, numbers / LOOK_RATE / LOOK_SHARE), LOOK_SHARE)
        self._start = self._told = time.perf_counter()
        self._asked: list[Future[LaneSum]] = []
        self._d_lr: float | None = None

    def step(self, samples: int, *, resumed: int = 0) -> None:
        """Look and tell, where it is time to.

        Args:
            samples: that the lanes were given so far.
            resumed: those of them that a checkpoint brought.
        """
        if not self._asked and self._looks.due():
            with self._timing.measure("looking"):
                self._asked = self._fleet.totals(self._part)
        looked = bool(self._asked) and all(each.done() for each in self._asked)
        if looked:
            totals, self._asked = [each.result() for each in self._asked], []
            spent = max(each.seconds for each in totals)
            with self._timing.measure("looking"), self._looks.spending(spent):
                self._d_lr = self._compute([each.sums for each in totals])
        if self._due() or looked:
            rate = (samples - resumed) / (time.perf_counter() - self._start)
            waiting = self._timing.share("reading", "running")
            self._listen(Progress("running", samples, self._total, rate, self._d_lr, waiting))

    def skip(self, samples: int) -> None:
        """Tell, where it is time to, that these samples are only read: a checkpoint holds their sums."""
        if self._due():
            self._listen(Progress("reading up to the checkpoint", samples, self._total))
        self._start = time.perf_counter()

    def _due(self) -> bool:
        now = time.perf_counter()
        due = now - self._told >= TELL_SECONDS
        self._told = now if due else self._told
        return due
