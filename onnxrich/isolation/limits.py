"""When a worker is ended: after a time, at an amount of memory, or because it gets no further."""

from __future__ import annotations

import time

from onnxrich._utils.formatting import size_text
from onnxrich._utils.limits import MEMORY_SHARE, available_bytes, default_memory_limit, default_stall_limit
from onnxrich._utils.validation import NO_LIMIT
from onnxrich.errors import WorkerError
from onnxrich.isolation.processes import Activity, ProcessTree
from onnxrich.pipelines.options import WorkOptions

# Seconds between two looks at the memory, and between two near a limit: in the shorter one fast code takes 20 MB.
LOOK, SHORT_LOOK = 0.05, 0.005
# Bytes of memory that a second of work fills at most: memory is written no faster by the cores that share it.
FILL_RATE = 2**34
# Seconds between two looks at what a worker does, and at the memory that the machine has left.
ACTIVITY_SECONDS, MACHINE_SECONDS = 1.0, 0.25
# Without a limit of the user's the work ends where this share of what was available at its start is left.
RESERVE_SHARE = 0.05
# Bytes that a worker which gets further reads in a second at least.
READ_RATE = 2**20
# A worker that waits, for a disk or for a processor, is given so many times the seconds of one that computes.
PATIENCE = 4


class LimitMonitor:
    """Ends work that breaks a limit, by an exception, and says how long the next look may wait.

    Args:
        tree: the worker and its descendants.
        options: the limits.
    """

    def __init__(self, tree: ProcessTree, options: WorkOptions) -> None:
        self.stage = "starting"
        self._tree, self._options = tree, options
        self._start = time.monotonic()
        self._memory = _MemoryLimit(tree, options)
        self._stall = _StallLimit(tree, options)

    def note_progress(self, stage: str | None = None) -> None:
        """The worker has said something: perhaps the stage that it is in."""
        self.stage = stage or self.stage
        self._stall.restart()

    def check(self) -> float:
        """Return the seconds until the next look.

        Raises:
            WorkerError: when the work breaks a limit.
        """
        now, timeout = time.monotonic(), self._options.timeout
        if timeout is not None and now - self._start > timeout:
            raise WorkerError(
                f"not done after {timeout:g} s, while {self.stage}",
                "an end within --timeout",
                "Pass a larger --timeout, or fewer rows, such as --limit 10000.",
            )
        pause = self._memory.check(now, self.stage)
        self._stall.check(now, self.stage, self._memory.growth)
        return pause


class _MemoryLimit:
    def __init__(self, tree: ProcessTree, options: WorkOptions) -> None:
        self._tree, self._is_default = tree, options.max_memory is None
        self._reserve = 0
        self._looked = -MACHINE_SECONDS
        self._first: int | None = None
        self.growth = 0
        if self._is_default:
            self._reserve = int(RESERVE_SHARE * available_bytes())
            self._most: int | None = default_memory_limit()
        else:
            self._most = options.memory_limit

    def check(self, now: float, stage: str) -> float:
        """Return the seconds in which the limit can't be reached, and raise WorkerError where it was."""
        used, resident = self._tree.memory(self._most)
        self._first = resident if self._first is None else self._first
        self.growth = max(self.growth, resident - self._first)
        if self._most is None:
            return LOOK
        if used > self._most:
            of = f"{MEMORY_SHARE:.0%} of what was free" if self._is_default else "the limit of --max-memory"
            raise self._error(
                f"{used / 2**20:,.0f} MiB of memory in use", f"at most {self._most / 2**20:,.0f} MiB, {of}", stage
            )
        if self._is_default and now - self._looked >= MACHINE_SECONDS:
            self._looked, left = now, available_bytes()
            # Where others took the memory it would help nobody to end work that has little of it.
            if left < min(self._reserve, used):
                raise self._error(
                    f"{size_text(left)} of memory left on this machine, and {size_text(used)} in use",
                    f"{size_text(self._reserve)} left",
                    stage,
                )
        return min(LOOK, max(SHORT_LOOK, (self._most - used) / FILL_RATE))

    def _error(self, found: str, needed: str, stage: str) -> WorkerError:
        remedy = f"Pass a {_smaller_batch(stage)}larger --max-memory."
        if self._is_default:
            remedy = f"Pass a {_smaller_batch(stage)}larger --max-memory SIZE, or none for no limit."
        return WorkerError(f"{found}, while {stage}", needed, remedy)


class _StallLimit:
    """Counts the seconds in which a worker neither says anything nor reads."""

    def __init__(self, tree: ProcessTree, options: WorkOptions) -> None:
        self._tree, self._seconds = tree, options.stall_timeout
        self._waited = 0.0
        self._looked = time.monotonic()
        self._activity = Activity()

    def restart(self) -> None:
        self._waited = 0.0

    def check(self, now: float, stage: str, growth: int) -> None:
        elapsed = now - self._looked
        if self._seconds == NO_LIMIT or elapsed < ACTIVITY_SECONDS:
            return
        self._looked, before, self._activity = now, self._activity, self._tree.activity()
        if self._activity.read - before.read >= READ_RATE * elapsed:
            self._waited = 0.0
        elif not self._activity.stopped:
            used = (self._activity.processor - before.processor) / elapsed
            pace = 1.0 if self._seconds is not None else min(1.0, max(1 / PATIENCE, used))
            # This process too may have been suspended.
            self._waited += pace * min(elapsed, 2 * ACTIVITY_SECONDS)
        most = default_stall_limit(growth) if self._seconds is None else float(self._seconds)
        if self._waited > most:
            raise WorkerError(
                f"no progress for {self._waited:,.0f} s, while {stage}",
                f"some within {most:,.0f} s",
                f"Pass a {_smaller_batch(stage)}larger --stall-timeout SECONDS, or none for no limit.",
            )


def _smaller_batch(stage: str) -> str:
    return "smaller --batch-size or a " if stage.endswith("running") else ""
