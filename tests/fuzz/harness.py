"""Runs a target over many inputs in child processes, and collects what went wrong.

A finding is an exception other than `OnnxrichError`, an error "that onnxrich did not expect", a warning of Python that
the user sees, a message that is too long or unprintable, a crash, a hang, or too much memory. Seed and number of an
input give the same input again. Findings that share their kind and place count as one.

A target with `NATIVE` works in the child what users work in a worker process. A file that crashes the library of that
name, or keeps it busy for ever, is "ended" there, as the worker would be, and no finding.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from fuzz.targets import load_target

TESTS = Path(__file__).resolve().parents[1]
# Seconds of processor time for one input, and of the clock, which a busy machine needs more of.
CPU_LIMIT, CLOCK_LIMIT = 20.0, 120.0
# Bytes of memory of a child and its children, and of the address space, which ends a child that allocates at once.
MEMORY_LIMIT, ADDRESS_SPACE = 2 << 30, 8 << 30
# Inputs that one child checks, unless the target says otherwise.
BATCH = 500
# Seconds between two looks at a child.
LOOK = 0.1


@dataclass(frozen=True)
class Finding:
    """What went wrong with an input.

    Attributes:
        kind: type of the exception, or "crash", "hang", "memory".
        where: innermost function of onnxrich.
        message: of the exception.
        label: number of the input, or its file.
        content: the input.
        trace: the traceback.
    """

    kind: str
    where: str
    message: str
    label: str
    content: bytes = field(repr=False)
    trace: str = field(default="", repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What findings of one cause share."""
        return self.kind, self.where


@dataclass
class Tally:
    """What became of the inputs of a target.

    Attributes:
        target: its name.
        outcomes: inputs that were accepted, refused, ended inside the runtime, or found wrong.
        refusals: refusals by class of error, and inputs that ended by what ended them.
        findings: the first finding of each kind and place.
        counts: findings by kind and place.
    """

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def inputs(self) -> int:
        """Number of inputs so far."""
        return sum(self.outcomes.values())

    def add(self, finding: Finding) -> bool:
        """Count a finding; whether it is the first of its kind and place."""
        self.outcomes["finding"] += 1
        self.counts[finding.key] += 1
        return self.findings.setdefault(finding.key, finding) is finding

    def __str__(self) -> str:
        """One line of counts, and one for each finding."""
        counts = [f"{self.outcomes[outcome]:,} {outcome}" for outcome in ("accepted", "refused", "ended")]
        lines = [f"{self.target}: {self.inputs:,} inputs, {', '.join(counts)}, {len(self.findings)} findings"]
        for finding in self.findings.values():
            count, name = self.counts[finding.key], Path(finding.label).name
            lines.append(f"  {count} × {finding.kind} in {finding.where}, first {name}: {finding.message[:160]!r}")
        return "\n".join(lines)


def fuzz(
    target: str,
    *,
    seed: int,
    inputs: int | None = None,
    minutes: float | None = None,
    first: int = 0,
    folder: Path | None = None,
) -> Tally:
    """Check mutated inputs of a target.

    Args:
        target: its name.
        seed: of the inputs.
        inputs: how many; None for as many as the time allows.
        minutes: of time, for batches that begin within it; None for no limit.
        first: number of the first input.
        folder: where the input and the traceback of each finding are written; None to write none.
    """
    tally, start, number = Tally(target), time.monotonic(), first
    batch = getattr(load_target(target), "BATCH", BATCH)
    while (inputs is None or number < first + inputs) and (minutes is None or time.monotonic() - start < 60 * minutes):
        count = batch if inputs is None else min(batch, first + inputs - number)
        _run_batch(tally, {"seed": seed, "numbers": list(range(number, number + count)), "files": []}, folder)
        number += count
    return tally


def replay(target: str, files: Sequence[Path]) -> Tally:
    """Check files as they are."""
    tally = Tally(target)
    _run_batch(tally, {"seed": 0, "numbers": [], "files": [str(file) for file in files]}, None)
    return tally


def _run_batch(tally: Tally, request: dict[str, Any], folder: Path | None) -> None:
    """Check inputs in as many children as it takes: an input that ends its child is followed by a fresh one."""
    while request["numbers"] or request["files"]:
        done = 0
        for outcome in _run_child(tally.target, request):
            done += 1
            if isinstance(outcome, Finding):
                if tally.add(outcome) and folder is not None:
                    _write(folder / tally.target, request["seed"], outcome, load_target(tally.target).SUFFIX)
            else:
                tally.outcomes[outcome["outcome"]] += 1
                if outcome["outcome"] != "accepted":
                    tally.refusals[outcome["kind"]] += 1
        left = [*request["files"], *request["numbers"]][max(done, 1) :]
        request = {
            **request,
            "files": [each for each in left if isinstance(each, str)],
            "numbers": [each for each in left if isinstance(each, int)],
        }


def _run_child(target: str, request: dict[str, Any]) -> Iterator[Finding | dict[str, str]]:
    """Yield the outcome of each input of a child, until it has checked all or an input ends it."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryFile() as log:
        path = Path(work) / f"input{load_target(target).SUFFIX}"
        limits = {"memory": MEMORY_LIMIT, "address_space": ADDRESS_SPACE}
        with _child({**request, **limits, "target": target, "folder": work}, log) as child:
            watch = _Watch(child)
            label: str | None = None
            for event in watch.events():
                if "input" in event:
                    label = event["input"]
                    continue
                assert label is not None
                if event["outcome"] == "finding":
                    content = bytes.fromhex(event["content"])  # the file is another input's by now
                    yield Finding(event["kind"], event["where"], event["message"], label, content, event["trace"])
                else:
                    yield event
                label = None
            if label is not None:
                child.wait()
                kind, message = watch.broken or ("crash", _exit_text(child.returncode))
                trace = _tail(log)
                native = getattr(load_target(target), "NATIVE", None)
                if native is not None and f"{native}/" in _innermost(trace):
                    yield {"outcome": "ended", "kind": kind}
                else:
                    yield Finding(kind, _innermost(trace), message, label, path.read_bytes(), trace)
            elif child.wait():
                raise RuntimeError(f"the child of {target} ended between inputs: {_tail(log)}")


@contextlib.contextmanager
def _child(request: dict[str, Any], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH", ""))))
    # Sets come in the same order each time, and a library's threads don't blur what a child takes.
    fixed = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "fuzz.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, **fixed, "PYTHONPATH": path},
        start_new_session=True,
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(request).encode())
    child.stdin.close()
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()


class _Watch:
    """Reads what a child says, and ends it when an input breaks a limit: `broken` says which."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.broken: tuple[str, str] | None = None
        self._child, self._process = child, psutil.Process(child.pid)
        self._start()

    def events(self) -> Iterator[dict[str, Any]]:
        """What the child says, until its output ends."""
        pipe, buffer = self._child.stdout, bytearray()
        assert pipe is not None
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(LOOK):
                    self._check_limits()
                    continue
                chunk = os.read(pipe.fileno(), 1 << 16)
                if not chunk:
                    return
                buffer += chunk
                *lines, rest = bytes(buffer).split(b"\n")
                buffer = bytearray(rest)
                self._start()
                yield from map(json.loads, lines)

    def _start(self) -> None:
        self._clock, self._cpu = time.monotonic(), self._used()[0]

    def _check_limits(self) -> None:
        cpu, memory = self._used()
        if cpu - self._cpu > CPU_LIMIT or time.monotonic() - self._clock > CLOCK_LIMIT:
            self.broken = ("hang", f"not done after {cpu - self._cpu:.0f} s of processor time")
        elif memory > MEMORY_LIMIT:
            self.broken = ("memory", f"{memory:,} bytes")
        if self.broken is not None:
            os.killpg(self._child.pid, signal.SIGABRT)  # the child prints its stack

    def _used(self) -> tuple[float, int]:
        """Seconds of processor time, and bytes of memory, of the child and its children."""
        seconds, memory = 0.0, 0
        with contextlib.suppress(psutil.Error):
            seconds += sum(self._process.cpu_times()[:4])
            memory += self._process.memory_info().rss
            for process in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    seconds += sum(process.cpu_times()[:2])
                    memory += process.memory_info().rss
        return seconds, memory


def _write(folder: Path, seed: int, finding: Finding, suffix: str) -> None:
    """Write the input of a finding, and its traceback beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{finding.kind.replace(' ', '_')}-{seed}-{Path(finding.label).name}"
    (folder / f"{name}.input{suffix}").write_bytes(finding.content)
    (folder / f"{name}.trace").write_text(f"{finding.where}\n{finding.message}\n\n{finding.trace}", errors="replace")


def _innermost(trace: str) -> str:
    """The innermost Python frame that `faulthandler` has printed of the thread that worked."""
    stack = trace.rpartition("Current thread")[2]
    frame = re.search(r'File "(.+?)", line \d+ in (\S+)', stack)
    return "" if frame is None else f"{'/'.join(frame[1].split('/')[-3:])}:{frame[2]}"


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-8000:].decode("utf-8", "replace")


def clear(folder: Path) -> None:
    """Remove the findings of an earlier run."""
    shutil.rmtree(folder, ignore_errors=True)
