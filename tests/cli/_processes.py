"""Real processes: commands with their streams, limits and terminals, and the workers that they start."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Seconds after which a test gives up on an event; however busy the machine is, it comes long before.
PATIENCE = 300

ONNXRICH = str(Path(sys.executable).with_name("onnxrich"))

# Programs that set something up and then become the command that follows.
OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0)"
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{}, ({}, resource.RLIM_INFINITY))"


def after(setup: str, command: Sequence[str]) -> list[str]:
    """A command that runs after a setup, in the same process."""
    program = f"import os, sys\n{setup}\nos.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-IS", "-c", program, *command]


def onnxrich(*arguments: str | Path, setup: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    command = [ONNXRICH, *map(str, arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    command = after(setup, command) if setup else command
    return subprocess.run(command, text=True, timeout=PATIENCE, check=False, **options)


def with_modules(folder: Path) -> dict[str, str]:
    """The environment, with the modules of a folder before all others."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def workers(parent: int) -> list[psutil.Process]:
    """The worker processes of a process."""
    processes = []
    for child in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "onnxrich.isolation.worker" in child.cmdline():
                processes.append(child)
    return processes


def is_over(process: psutil.Process) -> bool:
    """Whether a process has ended; one that nobody has reaped yet has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def let_work(process: psutil.Process, seconds: float = 0.3) -> None:
    """Wait until a process has taken so many more seconds of a processor: until it is amidst its work."""

    def spent() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    before = spent()
    until(lambda: spent() >= before + seconds)


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)
    return value


@dataclass
class Terminal:
    """A command on a terminal of its own, which is its standard error and its control."""

    process: subprocess.Popen[bytes]
    master: int
    shown: bytes = b""

    def wait_for(self, text: bytes) -> None:
        """Read until a text is shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            assert self._more(), self.shown

    def press(self, key: bytes) -> None:
        """Press a key."""
        os.write(self.master, key)

    def rest(self) -> bytes:
        """All that is shown until the command ends."""
        while self._more():
            pass
        return self.shown

    def _more(self) -> bool:
        if not select.select([self.master], [], [], PATIENCE)[0]:
            return False
        try:
            chunk = os.read(self.master, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self.shown += chunk
        return bool(chunk)


@contextlib.contextmanager
def on_terminal(*arguments: str | Path, stdout: int = subprocess.PIPE) -> Iterator[Terminal]:
    """The command on a terminal; ended with the block."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        after(OWN_TERMINAL, [ONNXRICH, *map(str, arguments)]),
        stdin=slave, stdout=slave if stdout == pty.STDOUT_FILENO else stdout, stderr=slave, start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        end(process)
        os.close(master)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process and close its pipes."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
