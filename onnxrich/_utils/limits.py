"""Limits that hold where the user sets none: how much memory work may take, and how long it may be without progress.

They protect the machine from files that nobody vouches for, and are so wide that no honest work meets them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

# Share of the available memory that work may take.
MEMORY_SHARE = 0.9
# Where hardly any memory is available, work may take so much all the same: a small run needs it.
LEAST_MEMORY = 2**28
# Seconds without progress, and more for each GiB by which the work has grown: a product, a convolution or a
# decomposition does at most some thousand operations for each byte that it holds.
STALL_SECONDS, STALL_SECONDS_A_GIB = 120.0, 600.0

_MEMBERSHIP, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def default_memory_limit() -> int:
    """Bytes of memory that work may take which starts now."""
    return max(LEAST_MEMORY, int(MEMORY_SHARE * available_bytes()))


def default_stall_limit(growth: int) -> float:
    """Seconds that work may be without progress.

    Args:
        growth: bytes of memory, mapped files included, by which the work has grown since its start.
    """
    return STALL_SECONDS + STALL_SECONDS_A_GIB * growth / 2**30


def available_bytes() -> int:
    """Bytes of memory that this process can take without swapping: what machine, container and `ulimit -v` leave."""
    return max(0, min([psutil.virtual_memory().available, *left_in_containers(), *_left_of_address_space()]))


def left_in_containers(membership: Path = _MEMBERSHIP, root: Path = _CGROUPS) -> Iterator[int]:
    """Bytes that each control group of this process leaves, those around it included.

    Args:
        membership: file that lists the groups of the process.
        root: where the control groups are mounted.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, limit, usage, cache = root, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            mount, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = ("total_inactive_file", "total_active_file")
        else:
            continue
        group = mount / path.lstrip("/")
        # A container sees its own group at the root, whatever the path says.
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(mount))):
            left = _left_in(folder, limit, usage, cache)
            if left is not None:
                yield left


def _left_in(folder: Path, limit: str, usage: str, cache: tuple[str, str]) -> int | None:
    """Bytes that a control group leaves; None where it sets no limit. The cache of files gives way."""
    try:
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        entries = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return most - used + sum(int(entries.get(name, 0)) for name in cache)


def _left_of_address_space() -> Iterator[int]:
    if sys.platform == "win32":
        return
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        yield most - psutil.Process().memory_info().vms
