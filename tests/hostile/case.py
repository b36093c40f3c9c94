"""A hostile case, and how one is run and judged: by the real command line, with its default options."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import psutil
from cli._processes import ONNXRICH, PATIENCE, after, until
from memory import peak_memory
from zoo_text import build

# Seconds of processor time of all processes of a case, and bytes that the largest of them may take.
CPU_LIMIT, MEMORY_LIMIT = 20.0, 2 << 30
# Bytes of address space, which save the machine where a case fails.
ADDRESS_SPACE = 12 << 30
# Characters of the one line that says what is wrong.
LONGEST_LINE = 600
# Controls but for line feeds, and characters that turn the direction of text.
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# The rows and the labels of most cases, and the weights of their model.
_RNG = np.random.default_rng(15)
X = _RNG.standard_normal((96, 6)).astype(np.float32)
Y = _RNG.integers(0, 3, 96)
WEIGHTS = {
    "w1": (_RNG.standard_normal((6, 8)) / 2).astype(np.float32),
    "w2": (_RNG.standard_normal((8, 3)) / 2).astype(np.float32),
}
RUN = ("run", "model.onnx", "--data", "data.npz", "--json")


@dataclass(frozen=True)
class Case:
    """A hostile case.

    Attributes:
        name: unique name, KIND-WHAT.
        make: writes its files into a folder that holds `model.onnx` and `data.npz` already.
        command: arguments of the command line, which runs in that folder.
        says: regular expression that the one line of the refusal matches; None where the command has to succeed.
        notice: code of a notice that a result carries, empty without any.
        rows: rows that D_LR is computed from, where the result is a document of D_LR; None where it is not compared.
        may_work: whether a result is right too: some versions of ONNX Runtime run what others refuse.
        environment: environment variables, None for those to remove.
        setup: Python code that the process runs before it becomes the command.
        stdout: path that standard output goes to, None for a pipe.
    """

    name: str
    make: Callable[[Path], Any] = lambda folder: None
    command: tuple[str, ...] = RUN
    says: str | None = None
    notice: str = ""
    rows: np.ndarray | None = None
    may_work: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)
    setup: str = ""
    stdout: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, its streams, the processor time and the memory that it took."""

    code: int
    out: str
    err: str
    seconds: float
    memory: int


def make_base(folder: Path) -> None:
    """Write the honest model and the honest data that a case spoils."""
    body = "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    (folder / "model.onnx").write_bytes(build(body, **WEIGHTS).SerializeToString())
    np.savez(folder / "data.npz", x=X, y=Y)


def expected_d_lr(rows: np.ndarray) -> float:
    """D_LR of the honest model on some rows, from n × n kernels in float64."""
    features = np.maximum(rows.astype(np.float64) @ WEIGHTS["w1"].astype(np.float64), 0)
    return oracle.d_lr(features, features @ WEIGHTS["w2"].astype(np.float64))


def check(case: Case, folder: Path) -> None:
    """Make the files of a case, run its command, and check all that is promised.

    Raises:
        AssertionError: when a promise is broken.
    """
    inside, temporary = folder / "case", folder / "tmp"
    inside.mkdir()
    temporary.mkdir()
    make_base(inside)
    case.make(inside)
    before = _snapshot(folder)
    mark = uuid.uuid4().hex
    outcome = _run(case, inside, {"TMPDIR": str(temporary), "ONNXRICH_TEST_CASE": mark})
    shown = f"{case.name}: exit code {outcome.code}\n{outcome.err[-3000:]}\n{outcome.out[:500]}"
    _check_refusal_or_result(case, outcome, shown)
    assert outcome.seconds < CPU_LIMIT, f"{outcome.seconds:.1f} s\n{shown}"
    assert outcome.memory < MEMORY_LIMIT, f"{outcome.memory >> 20} MiB\n{shown}"
    assert not CONTROLS.findall(outcome.err + outcome.out), f"{CONTROLS.findall(outcome.err + outcome.out)!r}\n{shown}"
    changed = {path for path, state in _snapshot(folder).items() if before.get(path) != state}
    outside = [path for path in changed if path.parts[:2] != ("case", "out")]
    assert not outside, f"written: {outside}\n{shown}"
    until(lambda: not _processes(mark))


def _check_refusal_or_result(case: Case, outcome: Outcome, shown: str) -> None:
    assert "Traceback" not in outcome.err and "did not expect" not in outcome.err, shown
    assert "Warning:" not in outcome.err, shown
    refused = outcome.code in (1, 2) and case.says is not None
    if refused and (outcome.code == 1 or not case.may_work):
        assert outcome.code == 1, shown
        assert outcome.out == "", shown
        assert re.fullmatch(rf"onnxrich: [^\n]{{1,{LONGEST_LINE}}}\n", outcome.err), shown
        assert re.search(case.says or "", outcome.err), shown
        return
    assert outcome.code == 0 and (case.says is None or case.may_work), shown
    if "--json" not in case.command or case.stdout is not None:
        return
    document = json.loads(outcome.out, parse_constant=_refuse_constant)
    if case.rows is not None:
        # The model computes in float32, whose rounding of 8 sums of 6 products is far below.
        assert abs(document["metrics"]["d_lr"] - expected_d_lr(case.rows)) < 1e-4, shown
    codes = [warning["code"] for warning in document.get("warnings", ())]
    assert not case.notice or case.notice in codes, f"{codes}\n{shown}"


def _refuse_constant(text: str) -> None:
    raise AssertionError(f"{text} in JSON")


def _run(case: Case, folder: Path, marks: Mapping[str, str]) -> Outcome:
    environment = {key: value for key, value in (os.environ | marks).items() if not key.startswith("PYTEST")}
    environment |= {key: value for key, value in case.environment.items() if value is not None}
    for key in (key for key, value in case.environment.items() if value is None):
        environment.pop(key, None)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({ADDRESS_SPACE}, {ADDRESS_SPACE}))"
    command = after(f"{limit}\n{case.setup}", [ONNXRICH, *case.command])
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context((folder.parent / name).open("w+b")) for name in ("stdout", "stderr"))
        target = out if case.stdout is None else stack.enter_context(Path(case.stdout).open("wb"))
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=target, stderr=err
        )
        status, seconds, memory = _wait(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        texts = (out.read().decode(), err.read().decode())
    return Outcome(process.returncode, *texts, seconds, memory)


def _wait(pid: int) -> tuple[int, float, int]:
    """Wait for a process, and end it where it hangs.

    Returns:
        Its status, seconds of processors of it and its children, and bytes of memory that the largest of them had at
        most. The memory that `wait4` tells is also that of this process, from which they were forked.
    """
    deadline, peak = time.monotonic() + PATIENCE, 0
    while True:
        peak = max(peak, *map(peak_memory, [pid, *_descendants(pid)]))
        hangs = time.monotonic() > deadline
        if hangs:
            os.kill(pid, signal.SIGKILL)
        done, status, usage = os.wait4(pid, 0 if hangs else os.WNOHANG)
        if done:
            return status, usage.ru_utime + usage.ru_stime, peak
        time.sleep(0.02)


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def _snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of each file below a folder, but for the streams of the command."""
    states = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            state = path.lstat()
            # The time of a folder changes with its files.
            size_and_time = (0, 0) if stat.S_ISDIR(state.st_mode) else (state.st_size, state.st_mtime_ns)
            if path.name not in ("stdout", "stderr"):
                states[path.relative_to(folder)] = size_and_time
    return states


def _processes(mark: str) -> list[int]:
    """Processes that a case left behind: they carry its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("ONNXRICH_TEST_CASE") == mark:
                found.append(process.pid)
    return found
