"""What a worker and all processes that it started use, and their end."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

# Seconds between two searches for processes that the worker has started.
SEARCH_SECONDS = 0.5


@dataclass(frozen=True)
class Activity:
    """What processes have done since their start.

    Attributes:
        processor: seconds of processors that they used.
        read: bytes that they read from files and pipes, or that were read for files that they have mapped.
        stopped: whether they are suspended, as by SIGSTOP.
    """

    processor: float = 0.0
    read: int = 0
    stopped: bool = False


class ProcessTree:
    """The worker and its descendants. A process that ends while it is examined counts as nothing.

    Args:
        pid: number of the worker.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._children: list[psutil.Process] = []
        self._searched = time.monotonic()

    def memory(self, limit: int | None = None) -> tuple[int, int]:
        """Bytes of memory of their own, without files that they have mapped; and with these.

        Pages that a process shares with its child by fork count once: they are told apart by the kernel's accounts,
        which are slow, where the fast sum exceeds a limit.
        """
        own = resident = 0
        processes = self._all()
        for process in processes:
            with contextlib.suppress(psutil.Error):
                info = process.memory_info()
                own += info.rss - getattr(info, "shared", 0)
                resident += info.rss
        if limit is not None and own > limit and len(processes) > 1:
            own = sum(_proportional_bytes(process) for process in processes)
        return own, resident

    def activity(self) -> Activity:
        """What they have done so far."""
        processor, read = 0.0, 0
        for process in self._all():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                processor += times.user + times.system
            read += _read_bytes(process)
        with contextlib.suppress(psutil.Error):
            return Activity(processor, read, self._root.status() == psutil.STATUS_STOPPED)
        return Activity(processor, read)

    def mapped_files(self) -> dict[Path, int]:
        """Files that the worker has mapped, libraries apart, with the offset at which each mapping ends."""
        ends: dict[Path, int] = {}
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._root.pid}/maps").read_text(errors="surrogateescape").splitlines():
                span, _, offset, _, _, *names = line.split(maxsplit=5)
                if names and names[0].startswith("/") and not re.search(r"\.so\b", names[0]):
                    start, end = (int(address, 16) for address in span.split("-"))
                    path = Path(names[0])
                    ends[path] = max(ends.get(path, 0), int(offset, 16) + end - start)
        return ends

    def kill(self) -> None:
        """End the descendants, also those that left the worker's session; the worker is ended by its group."""
        self._search()
        for process in self._children:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _all(self) -> list[psutil.Process]:
        now = time.monotonic()
        if now - self._searched >= SEARCH_SECONDS:
            self._searched = now
            self._search()
        return [self._root, *self._children]

    def _search(self) -> None:
        # Those found before are kept: they outlive a worker that crashed, and are nobody's children then.
        known = {process.pid: process for process in self._children if process.is_running()}
        with contextlib.suppress(psutil.Error):
            for pid in _descendants(self._root):
                if pid not in known:
                    with contextlib.suppress(psutil.Error):
                        known[pid] = psutil.Process(pid)
        self._children = list(known.values())


def _read_bytes(process: psutil.Process) -> int:
    """Bytes that a process has read so far; 0 where the system does not count them."""
    if sys.platform == "linux":
        # psutil lacks the method under kernels without accounts, and sandboxes keep empty or shorter ones.
        with contextlib.suppress(psutil.Error, AttributeError, RuntimeError, ValueError):
            counters = process.io_counters()
            return int(counters.read_chars + counters.read_bytes)
    return 0


def _descendants(root: psutil.Process) -> list[int]:
    """Numbers of all descendants: by the kernel's lists, which cost a tenth of a look at all processes."""
    try:
        found: list[int] = []
        level = [root.pid]
        while level:
            level = [child for pid in level for child in _children(pid)]
            found += level
        return found
    except OSError:
        return [process.pid for process in root.children(recursive=True)]


def _children(pid: int) -> list[int]:
    """Numbers of the children of a process; raises OSError where the kernel keeps no lists."""
    folder, numbers = Path(f"/proc/{pid}/task"), []
    for thread in folder.iterdir():
        with contextlib.suppress(ProcessLookupError):
            numbers += [int(number) for number in (thread / "children").read_text().split()]
    return numbers


def _proportional_bytes(process: psutil.Process) -> int:
    """Bytes of memory of its own, where a page that k processes share counts 1/k."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        if found := re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE):
            return int(found[1]) * 1024
    with contextlib.suppress(psutil.Error):
        info = process.memory_info()
        return int(info.rss - getattr(info, "shared", 0))
    return 0
