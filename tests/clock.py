"""Time in tests: a clock that a test moves, and waiting for an event with a generous deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds after which an event is taken for lost. No test is measured by it: an event that comes ends the wait.
DEADLINE = 120


class Clock:
    """Stands for the module `time` in a module under test. Its time stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the time."""
        self.now += seconds


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE) -> bool:
    """Wait until a condition holds. Return whether it did before the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(0.001)
    return True
