"""Where the time goes: seconds by stage, for `--profile` and for the progress line."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Timing:
    """Seconds by stage. A stage that is measured several times is summed.

    Attributes:
        seconds: by name of the stage, in the order in which the stages began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def share(self, stage: str, other: str) -> float:
        """The share of the time of two stages that one of them took."""
        own, both = self.seconds.get(stage, 0.0), sum(self.seconds.get(name, 0.0) for name in (stage, other))
        return own / both if both else 0.0

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time inside to a stage."""
        self.seconds.setdefault(stage, 0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start
