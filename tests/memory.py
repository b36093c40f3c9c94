"""The memory of processes."""

from __future__ import annotations

import contextlib
from pathlib import Path


def peak_memory(process: int | str = "self") -> int:
    """Bytes of memory that a process has had at most since its program began; 0 of one that has ended.

    `getrusage` and `wait4` count the memory of the process that started it, too, from before the program began.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
