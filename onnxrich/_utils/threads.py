"""The cores that there are to work with, and how runs and matrix products share them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

# Runs that go on at once on a CPU, at most: each takes memory of its own. On more cores one run has all of them.
MOST_LANES = 4
# Runs that each of them is to have, at least: the last ones may find the others done.
ROUNDS = 8
# Multiplications up to which one core is enough: a tenth of a second, some times as long as threads of OpenBLAS spin.
FEW = 4e9


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lane_count(runs: int | None, blocks: int) -> int:
    """How many runs go on at once on a CPU: one on each core, or a single one on all of them.

    A core that has a run for itself waits for no other between two operators, and keeps its rows in its own cache.

    Args:
        runs: that there are in all, None when it is not known.
        blocks: of moments, of which each belongs to one lane.
    """
    cores = usable_cores()
    enough = runs is None or runs >= ROUNDS * cores
    return cores if cores <= MOST_LANES and enough and blocks % cores == 0 else 1


@contextmanager
def single_threaded_blas(multiplications: float) -> Iterator[None]:
    """Have products and decompositions of NumPy that are small run in one thread, the caller's.

    The threads of OpenBLAS spin for some hundredths of a second after their work, on cores that the runtime needs; and
    where others use the cores they wait for each other. How many there are is a setting of the process: of several
    threads that want few the first one changes it, and puts it back.

    Args:
        multiplications: that are to be done; nothing is changed where they are many.
    """
    if multiplications > FEW or not _SETTING.acquire(blocking=False):
        yield
        return
    try:
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            yield
    finally:
        _SETTING.release()


# Held by the thread that changed the setting: one lock for the process, as the setting is.
_SETTING = threading.Lock()
