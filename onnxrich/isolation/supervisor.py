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
from onnxrich.errors import OnnxrichError, WorkerError
from onnxrich.isolation.codec import decode_result, encode_request
from onnxrich.pipelines.options import WorkOptions
from onnxrich.progress import Progress

# Seconds between two looks at the clock and at the worker's memory.
LOOK = 0.05

# Signals that a fault of native code raises.
CRASHES = {
    number
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
    if (number := getattr(signal, name, None)) is not None
}


def call(verb: str, subject: Any, options: WorkOptions) -> Any:
    """Do the work of a verb in a worker process, and return its result.

    Args:
        verb: a key of `onnxrich.pipelines.VERBS`.
        subject: path, or list of paths, that the verb is about.
        options: those of the verb; the listener hears of the worker's progress, and the limits end it.

    Raises:
        DataError: when an object is given where the worker needs a path.
        WorkerError: when the worker crashed, or was ended for a limit.
        OnnxrichError: what the verb raised.
    """
    request = json.dumps(encode_request(verb, subject, options))
    with _log() as log, _worker(log) as worker:
        if worker.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(request.encode() + b"\n")
                worker.stdin.flush()
        watch = _Watch(worker, options.timeout, options.max_memory)
        for line in watch.lines():
            event = json.loads(line)
            if event["event"] == "progress":
                watch.stage = event["progress"]["stage"]
                options.listen(Progress(**event["progress"]))
            elif event["event"] == "result":
                arrays = [watch.read(size) for size in event["sizes"]]
                if [len(array) for array in arrays] != event["sizes"]:
                    break
                return decode_result(event["document"], arrays)
            else:
                raise _raised(event)
        worker.wait()
        raise _crash(worker.returncode, watch.stage, _tail(log))


def _log() -> IO[bytes]:
    """Where native code prints: a file that vanishes, or nowhere on a machine without a place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


@contextlib.contextmanager
def _worker(log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    # -P: the current folder, which may come with an untrusted model, must not shadow modules.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment |= {"ORT_DISABLE_TELEMETRY": "1"}
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
        if pipe is None:
            return False
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


def _crash(code: int, stage: str, tail: str) -> WorkerError:
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
