"""Run an analysis in a worker process that can be ended.

An untrusted model can kill the interpreter, hang it or fill the memory, and ONNX Runtime ignores Ctrl-C inside a run:
only another process can be ended at once, always. Requirements:

- The worker reads one JSON request on its standard input, and dies when that is closed: with its parent, however that
  ends.
- It answers on its standard output with JSON lines, one a `Progress`, and at last one result or error. Nothing is
  unpickled.
- It runs in a session of its own, so that a Ctrl-C at the terminal reaches the parent alone, which ends it and all its
  descendants.
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

from onnxrich import errors
from onnxrich.errors import OnnxrichError
from onnxrich.isolation.blame import Surroundings, limit_behind
from onnxrich.isolation.codec import decode_result, encode_request
from onnxrich.isolation.limits import LimitMonitor
from onnxrich.isolation.processes import ProcessTree
from onnxrich.pipelines.options import WorkOptions
from onnxrich.progress import Progress

# Seconds between two looks at the files that the worker has mapped.
MAPPED_SECONDS = 1.0
# Options that stand for data: files that must not change while they are read.
DATA = ("data", "labels", "eval_data", "eval_labels")


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
    try:
        return _work(request, _surroundings(subject, options), options)
    except OSError as error:
        # Of pipes and processes of this one.
        if (limit := limit_behind(error)) is None:
            raise
        raise limit from error


def _work(request: str, surroundings: Surroundings, options: WorkOptions) -> Any:
    with _log() as log, _worker(log) as (worker, tree):
        if worker.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(request.encode() + b"\n")
                worker.stdin.flush()
        watch = _Watch(worker, tree, LimitMonitor(tree, options))
        for line in watch.lines():
            event = json.loads(line)
            if event["event"] == "progress":
                watch.limits.note_progress(event["progress"]["stage"])
                options.listen(Progress(**event["progress"]))
            elif event["event"] == "result":
                arrays = [watch.read(size) for size in event["sizes"]]
                if [len(array) for array in arrays] != event["sizes"]:
                    break
                surroundings.check_data()
                return decode_result(event["document"], arrays)
            else:
                raise _raised(event, surroundings)
        worker.wait()
        tail = _tail(log)
        error = surroundings.explain_end(worker.returncode, watch.limits.stage, log=tail, mapped=watch.mapped)
        error.add_note(tail)
        raise error


def _surroundings(subject: Any, options: WorkOptions) -> Surroundings:
    given = options.given()
    data = [given.pop(name) for name in DATA if name in given]
    others = [*(subject if isinstance(subject, list | tuple) else [subject]), *given.values()]
    return Surroundings(
        *([Path(each) for each in some if isinstance(each, str | os.PathLike)] for some in (data, others))
    )


def _log() -> IO[bytes]:
    """Where native code prints: a file that vanishes, or nowhere on a machine without a place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("w+b")


@contextlib.contextmanager
def _worker(log: IO[bytes]) -> Iterator[tuple[subprocess.Popen[bytes], ProcessTree]]:
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
    tree = ProcessTree(worker.pid)
    try:
        yield worker, tree
    finally:
        _end(worker, tree)


def _end(worker: subprocess.Popen[bytes], tree: ProcessTree) -> None:
    """End the worker and all that it started, at once."""
    tree.kill()
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

    def __init__(self, worker: subprocess.Popen[bytes], tree: ProcessTree, limits: LimitMonitor) -> None:
        self.limits = limits
        self.mapped: dict[Path, int] = {}
        self._worker, self._tree = worker, tree
        # A bytearray grows in place: bytes would be copied with each chunk, 10 s for 100 MB.
        self._buffer = bytearray()
        self._mapped_at = time.monotonic()

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
            self.limits.note_progress()
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
            while not selector.select(self._look()):
                pass
        self._look()
        chunk = os.read(pipe.fileno(), 1 << 20)
        self._buffer += chunk
        return bool(chunk)

    def _look(self) -> float:
        """Check the limits, note which files are mapped, and return the seconds until the next look."""
        pause = self.limits.check()
        now = time.monotonic()
        if now - self._mapped_at >= MAPPED_SECONDS:
            self._mapped_at, self.mapped = now, self._tree.mapped_files() or self.mapped
        return pause


def _raised(event: Mapping[str, Any], surroundings: Surroundings) -> OnnxrichError:
    kind = getattr(errors, event["kind"], OnnxrichError)
    error: OnnxrichError = kind(event["found"], event["needed"], event["remedy"])
    error.add_note(event["traceback"])
    if isinstance(error, errors.DataError):
        try:
            # What is wrong with data that were changed says nothing of those that are there now.
            surroundings.check_data()
        except errors.DataError as changed:
            changed.add_note(event["traceback"])
            return changed
    return error


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-4000:].decode("utf-8", "replace")
