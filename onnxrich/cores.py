"""The cores that there are to work with, and how runs and matrix products share them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

# Runs that go on at once on a CPU, at most: each takes memory of its own, and the first batch is run by one alone.
MOST_LANES = 4
# Runs that each of them is to have, at least: the last ones may find the others done.
ROUNDS = 8
# Multiplications up to which one core is enough: a tenth of a second, some times as long as threads of OpenBLAS spin.
FEW = 4e9


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lanes(runs: int | None, blocks: int) -> int:
    """How many runs go on at once on a CPU, each with its share of the cores.

    A core that has a run for itself waits for no other between two operators, and keeps its rows in its own cache. So
    there are as many as leave no core without work.

    Args:
        runs: that there are in all, None when it is not known.
        blocks: of moments, of which each belongs to one lane.
    """
    cores, enough = usable_cores(), MOST_LANES if runs is None else runs // ROUNDS

    def busy(count: int) -> tuple[float, int]:
        return cores // count * count / cores * blocks / (count * -(-blocks // count)), count

    return max(range(1, max(1, min(MOST_LANES, cores, enough)) + 1), key=busy)


def quiet(multiplications: float) -> AbstractContextManager[object]:
    """A context for products and decompositions of NumPy; those of few multiplications run in the caller's thread.

    The threads of OpenBLAS spin for some hundredths of a second after their work, on cores that the runtime needs; and
    where others use the cores they wait for each other.
    """
    if multiplications > FEW:
        return nullcontext()
    limit: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limit


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
