"""Run an analysis in a worker process that can be ended.

An untrusted model can kill the interpreter, hang it or fill the memory, and ONNX Runtime ignores Ctrl-C inside a run:
only another process can be ended at once, always. Requirements:

- The worker reads one JSON request on its standard input, and dies when that is closed: with its parent, however that
  ends.
- It answers on its standard output with JSON lines, one a `Progress`, and at last one result or error. Nothing is
  unpickled.
- It runs in a session of its own, so that a Ctrl-C at the terminal reaches the parent alone, which ends it and its
  children.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from onnxrich import errors
from onnxrich.errors import DataError, OnnxrichError, WorkerError
from onnxrich.moments.matrix import load_record
from onnxrich.progress import Listener, Progress
from onnxrich.results.analysis import Results
from onnxrich.results.provenance import Provenance

# Seconds between two looks at the clock and at the worker's memory.
LOOK = 0.05

# Signals that a fault of native code raises.
CRASHES = {
    number
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
    if (number := getattr(signal, name, None)) is not None
}


def call_for_results(
    task: str,
    request: Mapping[str, Any],
    *,
    listen: Listener = lambda _: None,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Results:
    """Results that a task in a worker process gives; arguments and errors as in `call`."""
    answer, saved = call(task, request, listen=listen, timeout=timeout, max_memory=max_memory)
    document, size = answer["document"], answer["size"]
    other = document["evaluation"]
    evaluation = None if other is None else _results(other, saved[size:])
    return _results(document, saved[:size]).evaluated(evaluation)


def _results(document: Mapping[str, Any], saved: bytes) -> Results:
    moments, record = load_record(io.BytesIO(saved))
    return Results.from_document(document, moments, Provenance.from_dict(record))


def several(
    task: str,
    request: Mapping[str, Any],
    *,
    listen: Listener = lambda _: None,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> tuple[dict[str, Any], list[Results]]:
    """A document that holds several `analyses`, and their results; arguments and errors as in `call`."""
    answer, saved = call(task, request, listen=listen, timeout=timeout, max_memory=max_memory)
    document, call_for_results, start = answer["document"], [], 0
    for analysis, size in zip(document["analyses"], answer["sizes"], strict=True):
        moments, record = load_record(io.BytesIO(saved[start : start + size]))
        call_for_results.append(Results.from_document(analysis, moments, Provenance.from_dict(record)))
        start += size
    return document, call_for_results


def call(
    task: str,
    request: Mapping[str, Any],
    *,
    listen: Listener = lambda _: None,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> tuple[dict[str, Any], bytes]:
    """What a task in a worker process gives: a JSON document, and bytes.

    Args:
        task: a key of `onnxrich.worker.TASKS`.
        request: JSON-able keyword arguments of the task.
        listen: called with the worker's progress.
        timeout: seconds after which the worker is ended.
        max_memory: bytes of its own memory at which the worker is ended.

    Raises:
        WorkerError: when the worker crashed, or was ended for a limit.
        OnnxrichError: what the task raised.
    """
    asked = json.dumps({"task": task, "arguments": dict(request)}, default=_told)
    with _log() as log, _worker(log) as worker:
        assert worker.stdin is not None and worker.stdout is not None  # noqa: S101 - both are pipes
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(asked.encode() + b"\n")
            worker.stdin.flush()
        watch = _Watch(worker, timeout, max_memory)
        for line in watch.lines():
            event = json.loads(line)
            if event["event"] == "progress":
                watch.stage = event["progress"]["stage"]
                listen(Progress(**event["progress"]))
            elif event["event"] == "result":
                saved = watch.read(event["bytes"])
                if len(saved) < event["bytes"]:
                    break
                return event["document"], saved
            else:
                raise _raised(event)
        worker.wait()
        raise _crashed(worker.returncode, watch.stage, _tail(log))


def _told(value: Any) -> Any:
    """What JSON has no word for: NumPy's numbers and arrays as Python's own."""
    if not hasattr(value, "tolist"):
        raise DataError(
            f"an option of type {type(value).__name__} for an isolated run",
            "numbers, text, and lists of these",
            "Pass it as one of these, or pass isolate=False.",
        )
    return value.tolist()


def _log() -> IO[bytes]:
    """Where native code prints: a file that vanishes, or nowhere on a machine without a place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


def path_of(value: Any, what: str = "model") -> str:
    """A path as text: a worker process gets paths, never objects.

    Raises:
        DataError: when it is no path.
    """
    if not isinstance(value, str | os.PathLike):
        raise DataError(
            f"{what} of type {type(value).__name__} for an isolated run",
            "the path of a file",
            "Save it to a file and pass its path, or pass isolate=False.",
        )
    return os.fspath(value)


def paths_of(values: Mapping[str, Any]) -> dict[str, str | None]:
    """Paths as text, by their names; None stays None.

    Raises:
        DataError: when one is no path.
    """
    return {name: None if value is None else path_of(value, name) for name, value in values.items()}


@contextlib.contextmanager
def _worker(log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # -P: the current folder, which may come with an untrusted model, must not shadow modules.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "onnxrich.isolation.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        env=environment,
        start_new_session=True,
    )
    try:
        yield worker
    finally:
        _end(worker)


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and all that it started, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class _Watch:
    """Reads what the worker says, and ends it when it breaks a limit."""

    def __init__(self, worker: subprocess.Popen[bytes], timeout: float | None, max_memory: int | None) -> None:
        self.stage = "starting"
        self._worker, self._timeout, self._max_memory = worker, timeout, max_memory
        # A bytearray grows in place: bytes would be copied with each chunk, 10 s for 100 MB.
        self._start, self._buffer = time.monotonic(), bytearray()
        self._process = psutil.Process(worker.pid)

    def lines(self) -> Iterator[bytes]:
        """Whole lines, until the worker closes its output."""
        while True:
            while (end := self._buffer.find(b"\n")) >= 0:
                yield self._take(end + 1)
            if not self._more():
                return

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; fewer when the worker ends before."""
        while len(self._buffer) < size and self._more():
            pass
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> bool:
        pipe = self._worker.stdout
        assert pipe is not None  # noqa: S101 - opened as a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not selector.select(LOOK):
                self._check_limits()
        self._check_limits()
        chunk = os.read(pipe.fileno(), 1 << 20)
        self._buffer += chunk
        return bool(chunk)

    def _check_limits(self) -> None:
        if self._timeout is not None and time.monotonic() - self._start > self._timeout:
            raise WorkerError(
                f"not done after {self._timeout:g} s, while {self.stage}",
                "an end within --timeout",
                "Pass a larger --timeout, or fewer rows, such as --limit 10000.",
            )
        if self._max_memory is not None and (used := self._memory()) > self._max_memory:
            raise WorkerError(
                f"{used / 2**20:,.0f} MiB of memory in use, while {self.stage}",
                f"at most {self._max_memory / 2**20:,.0f} MiB, the limit of --max-memory",
                f"Pass a {'smaller --batch-size or a ' if self.stage == 'running' else ''}larger --max-memory.",
            )

    def _memory(self) -> int:
        """Memory of the worker's own, without files that it has mapped."""
        with contextlib.suppress(psutil.Error):
            info = self._process.memory_info()
            return int(info.rss - getattr(info, "shared", 0))
        return 0


def _raised(event: Mapping[str, Any]) -> OnnxrichError:
    kind = getattr(errors, event["kind"], OnnxrichError)
    error: OnnxrichError = kind(event["found"], event["needed"], event["remedy"])
    error.add_note(event["traceback"])
    return error


def _crashed(code: int, stage: str, tail: str) -> WorkerError:
    if code == -signal.SIGKILL:
        found, remedy = "the worker was killed", "Most likely memory ran out: pass a smaller --batch-size."
    elif -code in CRASHES:
        found = f"native code crashed ({signal.Signals(-code).name})"
        remedy = "The model makes ONNX Runtime crash: simplify or export it again, and don't deploy it."
    elif code < 0:
        found, remedy = f"the worker was ended by signal {-code} ({signal.strsignal(-code)})", "Run it again."
    else:
        found, remedy = f"the worker ended with exit code {code}", "Run it again with --debug to see why."
    error = WorkerError(f"{found} while {stage}", "a model that the runtime can take", remedy)
    error.add_note(tail)
    return error


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4000:].decode("utf-8", "replace")
