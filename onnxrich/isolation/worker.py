"""The worker process, `python -m onnxrich.isolation.worker PARENT`: started and documented by `supervisor`."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict, replace
from typing import IO, Any

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36


def main() -> None:
    """Read the request, do the work of its verb, write the answer."""
    answer = _own_stdout()
    request = json.loads(sys.stdin.buffer.readline())
    _die_with_parent(int(sys.argv[1]))
    _prepare_for_the_end()
    try:
        from onnxrich.errors import OnnxrichError
        from onnxrich.isolation.blame import limit_behind
        from onnxrich.isolation.codec import decode_request, encode_result
        from onnxrich.pipelines import pipeline
        from onnxrich.progress import Progress

        def listen(progress: Progress) -> None:
            _say(answer, {"event": "progress", "progress": asdict(progress)})

        try:
            verb, subject, options = decode_request(request)
            document, arrays = encode_result(pipeline(verb)(subject, replace(options, progress=listen)))
        except OnnxrichError as error:
            error = limit_behind(error) or error
            _fail(answer, _public_kind(error), error.found, error.needed, error.remedy)
            return
        _say(answer, {"event": "result", "document": document, "sizes": [len(array) for array in arrays]})
        for array in arrays:
            answer.write(array)
        answer.flush()
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the parent must hear of it
        if (limit := limit_behind(error)) is not None:
            _fail(answer, "WorkerError", limit.found, limit.needed, limit.remedy)
            return
        found = f"an error that onnxrich did not expect: {type(error).__name__}: {error}"
        _fail(answer, "WorkerError", found, "", "Run it again with --debug, and report what it prints.")


def _public_kind(error: Exception) -> str:
    """Name of the error's class that users know: the nearest one of `onnxrich.errors`."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "onnxrich.errors")


def _own_stdout() -> IO[bytes]:
    """The pipe to the parent, for this module alone: what native code prints goes to standard error."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answer


def _die_with_parent(parent: int) -> None:
    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if sys.platform == "linux":
        # The thread above can't run while native code holds the interpreter's lock: ask the kernel as well.
        process_control = ctypes.CDLL(None).prctl
        process_control(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        # What libraries fork ends with this process; what outlives its parent stays a descendant of this one.
        os.register_at_fork(after_in_child=lambda: process_control(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL))
        process_control(_SET_CHILD_SUBREAPER, 1)
        # It may have died before; its number says so, for 1 can be a parent too: that of a container.
        if os.getppid() != parent:
            os._exit(1)


def _prepare_for_the_end() -> None:
    """A crash says which code was running, and writes no core: that would fill the current folder."""
    faulthandler.enable(2, all_threads=False)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        _, seconds = resource.getrlimit(resource.RLIMIT_CPU)
        if seconds > 1:
            # A limit of processor time that is reached kills without a name; a second before, its own signal comes.
            soft = min(resource.getrlimit(resource.RLIMIT_CPU)[0] % 2**63, seconds - 1)
            resource.setrlimit(resource.RLIMIT_CPU, (soft, seconds))


def _say(answer: IO[bytes], event: dict[str, Any]) -> None:
    answer.write(json.dumps(event).encode() + b"\n")
    answer.flush()


def _fail(answer: IO[bytes], kind: str, found: str, needed: str, remedy: str) -> None:
    said = {"kind": kind, "found": found, "needed": needed, "remedy": remedy, "traceback": traceback.format_exc()}
    _say(answer, {"event": "error", **said})


if __name__ == "__main__":
    main()
    os._exit(0)  # the waiting thread would hold up an orderly exit
