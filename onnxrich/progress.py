"""What long work tells whoever waits for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    Attributes:
        stage: what is being done, for people.
        rows: samples done, 0 in a stage that does not go through them.
        total: samples in all, None for a stream and in such a stage.
        rate: samples a second, 0 where it is not measured.
        d_lr: D_LR of the rows so far, None before the first look.
        waiting: share of the time in which the device waited for data, from 0 to 1.
    """

    stage: str
    rows: int = 0
    total: int | None = None
    rate: float = 0.0
    d_lr: float | None = None
    waiting: float = 0.0


Listener = Callable[[Progress], None]


class Stage:
    """Names of the timed stages. They are JSON keys of `runtime.profile`."""

    READING_MODEL = "reading the model"
    LOADING = "loading and checking the model"
    PROVING = "proving the rows"
    READING = "reading"
    RUNNING = "running"
    MONITORING = "looking"
    SAVING = "saving"
    MERGING = "merging"
    LAYERS = "computing the layers"
    METRICS = "computing the metrics"


# The stages of a pass over the data. The first batch is read while the model is loaded, and counts as reading.
PASS = (Stage.READING, Stage.RUNNING, Stage.MONITORING, Stage.SAVING)


class Timing:
    """Seconds by stage. A stage that is measured several times is summed; one inside of another is counted once.

    Attributes:
        seconds: by name of the stage, in the order in which the stages began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: str | None = None
        self._since = 0.0

    def of(self, *stages: str) -> float:
        """The seconds of some stages together."""
        return sum(self.seconds.get(stage, 0.0) for stage in stages)

    def share(self, stage: str, other: str) -> float:
        """The share of the time of two stages that one of them took."""
        both = self.of(stage, other)
        return self.of(stage) / both if both else 0.0

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage, but for what is measured inside as another one."""
        outer = self._turn(stage)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, stage: str | None) -> str | None:
        """Book the time since the last turn to the stage that ends here, and begin another; gives the one that ends."""
        now, ended = time.perf_counter(), self._stage
        if ended is not None:
            self.seconds[ended] += now - self._since
        if stage is not None:
            self.seconds.setdefault(stage, 0.0)
        self._stage, self._since = stage, now
        return ended
