"""Why a worker ended, in words: a limit of the system that it met, a file that changed under it, or what crashed."""

from __future__ import annotations

import contextlib
import errno
import mmap
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxrich.errors import OnnxrichError, WorkerError

# Signals that a fault of native code raises.
CRASHES = {
    number
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
    if (number := getattr(signal, name, None)) is not None
}
# What a crash leaves in the log where a reader of data was at work: a line of the interpreter's stack.
_READING = re.compile(r'File "[^"]*[/\\]onnxrich[/\\]data[/\\]')


@dataclass(frozen=True)
class SystemLimit:
    """A limit of the system that a process can meet.

    Attributes:
        found: what happened.
        option: of `ulimit`, which shows and sets it.
        numbers: of the errors that system calls give.
        texts: what native code and Python say of it.
    """

    found: str
    option: str
    numbers: tuple[int, ...]
    texts: tuple[str, ...]

    def error(self, stage: str = "") -> WorkerError:
        """The error to raise."""
        return WorkerError(
            f"{self.found}{stage and f' while {stage}'}",
            f"a higher limit of the system (`ulimit {self.option}`)",
            f"Raise it with `ulimit {self.option} N`, as far as the system allows, and run again.",
        )


_CPU_TIME = SystemLimit("the limit of processor time is used up", "-t", (), ())
_ADDRESS_SPACE = SystemLimit("memory ran out under a limit of the process", "-v", (), ())
_LIMITS = (
    SystemLimit("too many files are open", "-n", (errno.EMFILE, errno.ENFILE), ("Too many open files",)),
    SystemLimit("a file would exceed the limit of its size", "-f", (errno.EFBIG,), ("File too large",)),
    SystemLimit(
        "no further thread or process can be started", "-u", (), ("can't start new thread", "pthread_create failed")
    ),
)
_NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "failed to map segment", "MemoryError", "Memory allocation")
_WHOLE_RUN = "a run to its end"
_OUT_OF_MEMORY = ("memory ran out", "enough memory for a batch", "Pass a smaller --batch-size.")


def limit_behind(error: BaseException) -> OnnxrichError | None:
    """The error that names the limit of the system which is the cause of an exception; None where there is none."""
    causes = list(_causes(error))
    if any(isinstance(cause, BlockingIOError) for cause in causes) and "fork" in str(error):
        return _LIMITS[2].error()
    for limit in _LIMITS:
        if any(getattr(cause, "errno", None) in limit.numbers or _says(limit.texts, str(cause)) for cause in causes):
            return limit.error()
    out = any(isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM for cause in causes)
    if out or (not isinstance(error, OnnxrichError) and _says(_NO_MEMORY, str(error))):
        return _out_of_memory("")
    return None


def explain_end(code: int, stage: str, *, log: str, changed: str | None, killed_for_memory: bool) -> WorkerError:
    """The error that says why a worker ended without an answer.

    Args:
        code: its exit code, negative for a signal.
        stage: what it was doing.
        log: the end of what native code printed.
        changed: name of a file that became shorter while it was read, None where none is known.
        killed_for_memory: whether the system ended a process because memory ran out.
    """
    cpu_signal = getattr(signal, "SIGXCPU", None)
    limit = next((limit for limit in _LIMITS if _says(limit.texts, log)), None)
    if code == -getattr(signal, "SIGBUS", 0):
        return _file_changed(stage, changed)
    if cpu_signal is not None and code == -cpu_signal:
        return _CPU_TIME.error(stage)
    if code == -signal.SIGKILL and killed_for_memory:
        return WorkerError(
            f"the system ended the worker because memory ran out, while {stage}",
            "more free memory",
            "Pass a smaller --batch-size, or free some memory.",
        )
    if code == -signal.SIGKILL:
        remedy = "If memory ran out, pass a smaller --batch-size; else run it again."
        return WorkerError(f"the worker was killed while {stage}", _WHOLE_RUN, remedy)
    if limit is not None:
        return limit.error(stage)
    if _says(_NO_MEMORY, log):
        return _out_of_memory(stage)
    if -code in CRASHES:
        return _crash(code, stage, in_reader=_READING.search(_crashed_stack(log)) is not None)
    if code < 0:
        found = f"the worker was ended by signal {-code} ({signal.strsignal(-code)}) while {stage}"
        return WorkerError(found, _WHOLE_RUN, "Run it again.")
    found = f"the worker ended with exit code {code} while {stage}"
    return WorkerError(found, _WHOLE_RUN, "Run it again with --debug to see why.")


def shortened_file(mapped: Mapping[Path, int], sizes: Mapping[Path, int]) -> str | None:
    """Name of a file that is shorter than it was when it was mapped or opened; None where there is none.

    Args:
        mapped: offset at which the mapping of each file ends, rounded up to whole pages.
        sizes: bytes of each file at the start.
    """
    for path, end in mapped.items():
        size = file_size(path)
        if size is not None and -(-size // mmap.PAGESIZE) * mmap.PAGESIZE < end:
            return str(path)
    return next((str(path) for path, before in sizes.items() if (file_size(path) or 0) < before), None)


def file_size(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None


def count_memory_kills() -> int:
    """How many processes the system has ended so far because memory ran out; 0 where it does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE):
            return int(found[1])
    return 0


def _file_changed(stage: str, changed: str | None) -> WorkerError:
    if changed is None:
        return WorkerError(
            f"a file could not be read to its end (SIGBUS) while {stage}",
            "files that stay as they are",
            "Check that nobody writes the model or the data, and the disk that they are on.",
        )
    found = f"…{changed[-100:]}" if len(changed) > 100 else changed
    return WorkerError(
        f"{found} became shorter while it was read (SIGBUS), while {stage}",
        "files that stay as they are",
        "Run it again when the file is whole.",
    )


def _crash(code: int, stage: str, *, in_reader: bool) -> WorkerError:
    found = f"native code crashed ({signal.Signals(-code).name}) while {stage}"
    if in_reader:
        remedy = "The data make their reader crash: check where they come from, or save them as .npz."
        return WorkerError(f"{found}, in a reader of data", "data that their library can read", remedy)
    remedy = "The model makes ONNX Runtime crash: simplify or export it again, and don't deploy it."
    return WorkerError(found, "a model that the runtime can take", remedy)


def _crashed_stack(log: str) -> str:
    """What the interpreter printed of the thread that crashed."""
    return log.rpartition("Fatal Python error")[2] if "Fatal Python error" in log else ""


def _out_of_memory(stage: str) -> WorkerError:
    if _is_memory_limited():
        return _ADDRESS_SPACE.error(stage)
    found, needed, remedy = _OUT_OF_MEMORY
    return WorkerError(f"{found}{stage and f' while {stage}'}", needed, remedy)


def _is_memory_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return any(limit != resource.RLIM_INFINITY for limit in limits)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _says(texts: tuple[str, ...], said: str) -> bool:
    return any(text in said for text in texts)
