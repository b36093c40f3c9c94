"""Limits end work that fills the memory or gets no further, also where none is asked for, and nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from cli import _models
from cli._processes import PATIENCE, end, is_over, let_work, until, with_modules, workers

import onnxrich
from onnxrich.errors import WorkerError
from onnxrich.isolation import limits
from onnxrich.isolation.processes import Activity, ProcessTree
from onnxrich.pipelines.options import RunOptions

MIB = 2**20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _models.data(tmp_path)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["bomb_loading", "bomb_running"])
def test_default_memory_limit(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    """A model that fills the memory is ended though nobody asked for it, and the message says how to allow more."""
    monkeypatch.setattr(limits, "default_memory_limit", lambda: 600 * MIB)
    with pytest.raises(WorkerError) as caught:
        onnxrich.run(_models.model(tmp_path, trouble), data, device="cpu", isolate=True)
    assert " MiB of memory in use, while " in caught.value.found
    assert caught.value.needed == "at most 600 MiB, 90% of what was free"
    assert caught.value.remedy.endswith("larger --max-memory SIZE, or none for no limit.")


def test_memory_of_the_machine(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work ends before the machine has none left, whoever took it, but only work that has some of it."""
    model = _models.model(tmp_path)
    left = iter([2000 * MIB])
    monkeypatch.setattr(limits, "available_bytes", lambda: next(left, 4 * MIB))
    with pytest.raises(
        WorkerError, match=r"^4 MiB of memory left on this machine, and .* in use, while .*100 MiB left"
    ):
        onnxrich.run(model, data, device="cpu", isolate=True)
    left = iter([2000 * MIB])
    tree = SimpleNamespace(memory=lambda _: (3 * MIB, 9 * MIB), activity=Activity)
    monitor = limits.LimitMonitor(tree, RunOptions(isolate=True))
    assert monitor.check() == limits.LOOK


def test_no_memory_limit(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "none" neither the default nor the machine's state ends the work."""
    monkeypatch.setattr(limits, "default_memory_limit", lambda: 1)
    monkeypatch.setattr(limits, "available_bytes", lambda: 1)
    model = _models.model(tmp_path)
    assert onnxrich.run(model, data, device="cpu", isolate=True, max_memory="none").moments.n == 64


def test_looks_are_closer_near_the_limit() -> None:
    """A look comes before the fastest code can have filled what the limit leaves."""
    pauses = []
    for used in (0, 990 * MIB, 1000 * MIB):
        tree = SimpleNamespace(memory=lambda _, used=used: (used, used), activity=Activity)
        pauses.append(limits.LimitMonitor(tree, RunOptions(isolate=True, max_memory=1000 * MIB)).check())
    assert pauses[0] == limits.LOOK > pauses[1] >= pauses[2] == limits.SHORT_LOOK


# A parent with 64 MiB which it shares with a child by fork, and 32 MiB of the child's own.
FORKED = """
import os, sys, time
held = bytearray(b"1") * (64 << 20)
if os.fork() == 0:
    own = bytearray(b"2") * (32 << 20)
    print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """Two processes that share memory."""
    process = subprocess.Popen([sys.executable, "-IS", "-c", FORKED], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    end(process)


def test_memory_of_children(family: subprocess.Popen[bytes]) -> None:
    """Children count, and what they share with their parent counts once."""
    tree = ProcessTree(family.pid)
    until(lambda: tree.memory()[0] > 64 * MIB + 64 * MIB + 32 * MIB)
    exact, resident = tree.memory(limit=1)
    (child,) = psutil.Process(family.pid).children()
    # psutil adds up what the kernel says of each mapping.
    counted = sum(process.memory_full_info().pss for process in (psutil.Process(family.pid), child))
    assert abs(exact - counted) < 16 * MIB, "the shares of Python itself, a mapped file"
    assert 96 * MIB < exact < 128 * MIB < resident


# --- progress --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["slow_loading", "endless_running"])
def test_stall_timeout(tmp_path: Path, data: Path, trouble: str) -> None:
    """Work without progress is ended, and the message names the stage and the option."""
    with pytest.raises(WorkerError) as caught:
        onnxrich.run(_models.model(tmp_path, trouble), data, device="cpu", isolate=True, stall_timeout=4)
    assert caught.value.found.startswith("no progress for ") and " s, while " in caught.value.found
    assert caught.value.needed == "some within 4 s"
    assert caught.value.remedy.endswith("larger --stall-timeout SECONDS, or none for no limit.")


def test_default_stall_limit(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless loop is ended though nobody asked for it."""
    monkeypatch.setattr(limits, "default_stall_limit", lambda _: 4.0)
    with pytest.raises(WorkerError, match=r"^no progress for [45] s, while "):
        onnxrich.run(_models.model(tmp_path, "endless_running"), data, device="cpu", isolate=True)


class Stalled:
    """A worker whose activity a test sets."""

    def __init__(self) -> None:
        self.now = Activity()

    def memory(self, _: int | None = None) -> tuple[int, int]:
        """Hardly any."""
        return 0, 0

    def activity(self) -> Activity:
        """What the test says."""
        return self.now


def seconds_until_the_end(
    monkeypatch: pytest.MonkeyPatch, *, stall_timeout: float | None = None, processor: float = 0, read: int = 0,
    stopped: bool = False,
) -> int | None:  # fmt: skip
    """Seconds after which a worker is ended that does so much in a second; None: not within half an hour."""
    clock, tree = SimpleNamespace(now=0.0), Stalled()
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: clock.now))
    options = RunOptions(isolate=True, stall_timeout=stall_timeout, max_memory="none")
    monitor = limits.LimitMonitor(tree, options)
    for second in range(1800):
        clock.now = float(second)
        tree.now = Activity(processor * second, read * second, stopped)
        try:
            monitor.check()
        except WorkerError:
            return second
    return None


def test_what_counts_as_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on a processor counts in full, waiting a quarter; reading is progress; nothing counts while stopped."""
    assert seconds_until_the_end(monkeypatch, processor=1) == 121
    assert seconds_until_the_end(monkeypatch, processor=16) == 121, "many cores have no less time"
    assert seconds_until_the_end(monkeypatch, processor=0.5) == 241
    assert seconds_until_the_end(monkeypatch) == 481
    assert seconds_until_the_end(monkeypatch, processor=1, read=MIB) is None
    assert seconds_until_the_end(monkeypatch, stopped=True) is None
    # The user's own number is in seconds of a clock.
    assert seconds_until_the_end(monkeypatch, stall_timeout=10) == 11
    assert seconds_until_the_end(monkeypatch, stall_timeout="none", processor=1) is None  # type: ignore[arg-type]


def test_systems_without_accounts_of_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes keep an empty `/proc/PID/io`, other kernels none: the rest of the activity is known all the same."""

    def empty(_: psutil.Process) -> None:
        raise RuntimeError("/proc/1/io file was empty")

    monkeypatch.setattr(psutil.Process, "io_counters", empty)
    assert ProcessTree(os.getpid()).activity().processor > 0
    monkeypatch.delattr(psutil.Process, "io_counters")
    activity = ProcessTree(os.getpid()).activity()
    assert activity.processor > 0
    assert activity.read == 0


def test_progress_starts_the_count_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long work takes, it goes on while it says something."""
    clock, tree = SimpleNamespace(now=0.0), Stalled()
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monitor = limits.LimitMonitor(tree, RunOptions(isolate=True, max_memory="none"))
    for second in range(1800):
        clock.now, tree.now = float(second), Activity(processor=second)
        monitor.check()
        if second % 100 == 0:
            monitor.note_progress("running")
    assert monitor.stage == "running"


# --- the end of all processes ----------------------------------------------------------------------------------------

# Two children of the worker, one of which leaves its session and outlives its parent.
CHILDREN = """
import os, subprocess, sys
class Starter:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            sys.meta_path.remove(self)
            near = subprocess.Popen(["sleep", "1000"])
            command = "import os; os.fork() and os._exit(0); os.setsid(); os.execvp('sleep', ['sleep', '1000'])"
            subprocess.run([sys.executable, "-IS", "-c", command])
sys.meta_path.insert(0, Starter())
"""


def sleepers(worker: psutil.Process) -> list[psutil.Process]:
    return [child for child in worker.children(recursive=True) if child.name() == "sleep"]


@pytest.mark.parametrize("victim", ["SIGINT", "SIGKILL of the worker", "SIGTERM of the worker"])
def test_no_descendant_is_left(tmp_path: Path, data: Path, victim: str) -> None:
    """Whatever ends the worker, all that it started ends with it, also what left its session."""
    (tmp_path / "sitecustomize.py").write_text(CHILDREN)
    command = [
        sys.executable, "-P", "-c",
        "import sys, onnxrich; onnxrich.run(sys.argv[1], sys.argv[2], isolate=True, device='cpu')",
        str(_models.model(tmp_path, "endless_running")), str(data),
    ]  # fmt: skip
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, env=with_modules(tmp_path), start_new_session=True)
    try:
        (worker,) = until(lambda: workers(parent.pid))
        found = until(lambda: (both := sleepers(worker)) and len(both) == 2 and both)
        let_work(worker, 1)
        if victim == "SIGINT":
            os.killpg(parent.pid, signal.SIGINT)
        else:
            worker.send_signal(getattr(signal, victim.split()[0]))
        _, said = parent.communicate(timeout=PATIENCE)
        assert (b"KeyboardInterrupt" if victim == "SIGINT" else b"WorkerError: the worker was ") in said
        for process in (worker, *found):
            until(lambda process=process: is_over(process))
    finally:
        end(parent)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_forked_children_end_with_the_parent(tmp_path: Path, data: Path, number: int) -> None:
    """What a library forks in the worker ends when the parent is killed, for the worker is killed with it."""
    forking = (
        CHILDREN[: CHILDREN.index("near =")].rstrip()
        + "\n            os.fork() or os.execvp('sleep', ['sleep', '1000'])\n"
    )
    (tmp_path / "sitecustomize.py").write_text(forking + "sys.meta_path.insert(0, Starter())\n")
    # `nohup` before the tests would keep the signal from the parent.
    program = (
        f"import signal, sys, onnxrich; {number:d} == signal.SIGKILL or signal.signal({number:d}, signal.SIG_DFL)\n"
        "onnxrich.run(sys.argv[1], sys.argv[2], isolate=True, device='cpu')"
    )
    command = [sys.executable, "-P", "-c", program, str(_models.model(tmp_path, "endless_running")), str(data)]
    parent = subprocess.Popen(command, env=with_modules(tmp_path), start_new_session=True)
    try:
        (worker,) = until(lambda: workers(parent.pid))
        (child,) = until(lambda: sleepers(worker))
        let_work(worker, 1)
        parent.send_signal(number)
        assert parent.wait(PATIENCE) == -number
        for process in (worker, child):
            until(lambda process=process: is_over(process))
    finally:
        end(parent)


def test_honest_work_is_not_ended(tmp_path: Path) -> None:
    """Wide moments and many blocks, in a worker with the default limits."""
    rng = np.random.default_rng(4)
    np.savez(
        tmp_path / "rows.npz", x=rng.standard_normal((5000, 4)).astype(np.float32), labels=rng.integers(0, 3, 5000)
    )
    analysis = onnxrich.run(_models.model(tmp_path), tmp_path / "rows.npz", device="cpu", isolate=True, metrics="all")
    assert analysis.moments.n == 5000
