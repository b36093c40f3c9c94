"""The worker process, `python -m onnxrich.isolation.worker PARENT`: started and documented by `supervisor`."""

from __future__ import annotations

import ctypes
import io
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from typing import IO, Any

_SET_PARENT_DEATH_SIGNAL = 1


def main() -> None:
    """Read the request, run the analysis, write the answer."""
    answer = _own_stdout()
    request = json.loads(sys.stdin.buffer.readline())
    _die_with_parent(int(sys.argv[1]))
    _leave_no_core()
    try:
        from onnxrich.errors import OnnxrichError
        from onnxrich.progress import Progress

        def listen(progress: Progress) -> None:
            _say(answer, {"event": "progress", "progress": asdict(progress)})

        try:
            document, saved = TASKS[request["task"]](request["arguments"], listen)
        except OnnxrichError as error:
            _fail(answer, type(error).__name__, error.found, error.needed, error.remedy)
            return
        _say(answer, {"event": "result", "document": document, "bytes": len(saved)})
        answer.write(saved)
        answer.flush()
    except MemoryError:
        _fail(answer, "WorkerError", "memory ran out", "enough memory for a batch", "Pass a smaller --batch-size.")
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the parent must hear of it
        found = f"an error that onnxrich did not expect: {type(error).__name__}: {error}"
        _fail(answer, "WorkerError", found, "none", "Run it with --debug, and report what it prints.")


def _run(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import run as pipeline

    return _answer(pipeline.run(arguments.pop("model"), listen=listen, **arguments))


def _load(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.api.run import Analysis

    return _answer(Analysis.load(**arguments))


def _answer(results: Any) -> tuple[dict[str, Any], bytes]:
    """The document of results, and their moments: those of data to evaluate on behind the others."""
    saved = []
    for each in (results, results.evaluation):
        file = io.BytesIO()
        if each is not None:
            each.moments.save(file, each.record.to_dict())
        saved.append(file.getvalue())
    return {"document": results.to_dict(), "size": len(saved[0])}, b"".join(saved)


def _compare(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import compare as comparing

    found = comparing.compare(arguments.pop("models"), listen=listen, **arguments)
    return _several(found.to_dict(), found.results)


def _track(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import track as following

    found = following.track(arguments.pop("given"), listen=listen, **arguments)
    return _several(found.to_dict(), found.results)


def _several(document: dict[str, Any], results: Any) -> tuple[dict[str, Any], bytes]:
    """A document and the moments of several results, one behind the other."""
    saved = []
    for result in results:
        file = io.BytesIO()
        result.moments.save(file, result.record.to_dict())
        saved.append(file.getvalue())
    return {"document": document, "sizes": [len(each) for each in saved]}, b"".join(saved)


def _inspect(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import inspect as inspection

    return inspection.inspect(**arguments).to_dict(), b""


def _expose(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import patch as patching

    return {"names": patching.expose(**arguments)}, b""


def _instrument(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.pipelines import patch as patching

    return {"names": patching.instrument(**arguments)}, b""


def _export(arguments: dict[str, Any], listen: Any) -> tuple[dict[str, Any], bytes]:
    from onnxrich.frameworks import export as exporting

    return exporting.export(**arguments).to_dict(), b""


TASKS = {
    "run": _run,
    "load": _load,
    "compare": _compare,
    "track": _track,
    "inspect": _inspect,
    "expose": _expose,
    "instrument": _instrument,
    "export": _export,
}


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
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        # It may have died before; its number says so, for 1 can be a parent too: that of a container.
        if os.getppid() != parent:
            os._exit(1)


def _leave_no_core() -> None:
    """A crash must not write the worker's whole memory into the current folder."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _say(answer: IO[bytes], event: dict[str, Any]) -> None:
    answer.write(json.dumps(event).encode() + b"\n")
    answer.flush()


def _fail(answer: IO[bytes], kind: str, found: str, needed: str, remedy: str) -> None:
    said = {"kind": kind, "found": found, "needed": needed, "remedy": remedy, "traceback": traceback.format_exc()}
    _say(answer, {"event": "error", **said})


if __name__ == "__main__":
    main()
    os._exit(0)  # the waiting thread would hold up an orderly exit
