"""Why a worker ended, in words: a limit of the system that it met, a file that changed under it, or what crashed."""

from __future__ import annotations

import contextlib
import errno
import mmap
import re
import signal
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxrich._utils.text import shorten
from onnxrich.errors import DataError, OnnxrichError, OutputError, WorkerError

# Signals that a fault of native code raises.
CRASHES = {
    number
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
    if (number := getattr(signal, name, None)) is not None
}
# Characters of a path in a message, which leave room for the rest of it.
_LONGEST_PATH = 100
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
_DATA_SEGMENT = SystemLimit(_ADDRESS_SPACE.found, "-d", (), ())
_THREADS = SystemLimit(
    "no further thread or process can be started", "-u", (), ("can't start new thread", "pthread_create failed")
)
_LIMITS = (
    SystemLimit("too many files are open", "-n", (errno.EMFILE, errno.ENFILE), ("Too many open files",)),
    SystemLimit("a file would exceed the limit of its size", "-f", (errno.EFBIG,), ("File too large",)),
    _THREADS,
)
_NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "failed to map segment", "MemoryError", "Memory allocation")
_WHOLE_RUN = "a run to its end"
_OUT_OF_MEMORY = ("memory ran out", "enough memory for a batch", "Pass a smaller --batch-size.")


def limit_behind(error: BaseException) -> OnnxrichError | None:
    """The error that names the limit of the system which is the cause of an exception; None where there is none."""
    if isinstance(error, OutputError):  # it names the place, and the limit
        return None
    causes = list(_causes(error))
    if any(isinstance(cause, BlockingIOError) for cause in causes) and "fork" in str(error):
        return _THREADS.error()
    for limit in _LIMITS:
        if any(getattr(cause, "errno", None) in limit.numbers or _says(limit.texts, str(cause)) for cause in causes):
            return _limit_error(limit)
    out = any(isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM for cause in causes)
    # A library that can't be loaded is another sign of it, whatever its loader says.
    unloaded = isinstance(error, ImportError | SystemError) and _memory_limit() is not None
    if out or unloaded or (not isinstance(error, OnnxrichError) and _says(_NO_MEMORY, str(error))):
        return _out_of_memory("")
    return None


@dataclass(frozen=True)
class _Version:
    """What tells a file from what was there before, or is there after it was written."""

    number: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> _Version | None:
        """That of a regular file; None where there is none."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        return cls(status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class Surroundings:
    """What the work of a worker depends on, as it was when the worker started.

    Args:
        data: paths of data.
        others: other paths that are read.
    """

    def __init__(self, data: Sequence[Path], others: Sequence[Path]) -> None:
        self._data = {path: version for path in data if (version := _Version.of(path)) is not None}
        self._others = {path: version for path in others if (version := _Version.of(path)) is not None}
        self._memory_kills, self._seconds = _count_memory_kills(), _processor_seconds()

    def check_data(self) -> None:
        """Check that the data are still what they were.

        Raises:
            DataError: when they were written or replaced: what was read may be a mixture.
        """
        for path, version in self._data.items():
            if _Version.of(path) != version:
                raise DataError(
                    f"{shorten(str(path), _LONGEST_PATH)} was changed while it was read",
                    "data that stay as they are",
                    "Run it again once nobody writes them, or pass a copy.",
                )

    def explain_end(self, code: int, stage: str, *, log: str, mapped: Mapping[Path, int]) -> WorkerError:
        """The error that says why a worker ended without an answer.

        Args:
            code: its exit code, negative for a signal.
            stage: what it was doing.
            log: the end of what native code printed.
            mapped: files that it had mapped, with the offset at which each mapping ends.
        """
        if code == -getattr(signal, "SIGBUS", 0):
            return _file_changed(stage, self._shorter_file(mapped))
        if code == -getattr(signal, "SIGXCPU", 0) or (code == -signal.SIGKILL and self._is_time_used_up()):
            return _CPU_TIME.error(stage)
        if code == -signal.SIGKILL and _count_memory_kills() > self._memory_kills:
            found = f"the system ended the worker because memory ran out, while {stage}"
            return WorkerError(found, "more free memory", "Pass a smaller --batch-size, or free some memory.")
        if code == -signal.SIGKILL:
            remedy = "If memory ran out, pass a smaller --batch-size; else run it again."
            return WorkerError(f"the worker was killed while {stage}", _WHOLE_RUN, remedy)
        limit = next((limit for limit in _LIMITS if _says(limit.texts, log)), None)
        if limit is not None:
            return _limit_error(limit, stage)
        if _says(_NO_MEMORY, log):
            return _out_of_memory(stage)
        if -code in CRASHES:
            return _crash(code, stage, in_reader=_READING.search(_crashed_stack(log)) is not None)
        if code < 0:
            found = f"the worker was ended by signal {-code} ({signal.strsignal(-code)}) while {stage}"
            return WorkerError(found, _WHOLE_RUN, "Run it again.")
        found = f"the worker ended with exit code {code} while {stage}"
        return WorkerError(found, _WHOLE_RUN, "Run it again with --debug to see why.")

    def _shorter_file(self, mapped: Mapping[Path, int]) -> Path | None:
        """A file that is shorter than its mapping, or than it was at the start."""
        for path, end in mapped.items():
            now = _Version.of(path)
            # A mapping is of whole pages.
            if now is not None and -(-now.size // mmap.PAGESIZE) * mmap.PAGESIZE < end:
                return path
        for path, before in (self._data | self._others).items():
            now = _Version.of(path)
            if now is not None and now.size < before.size:
                return path
        return None

    def _is_time_used_up(self) -> bool:
        most = _system_limit("RLIMIT_CPU", hard=True)
        return most is not None and _processor_seconds() - self._seconds > most - 1


def _count_memory_kills() -> int:
    """How many processes the system has ended so far because memory ran out; 0 where it does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.MULTILINE):
            return int(found[1])
    return 0


def _file_changed(stage: str, path: Path | None) -> WorkerError:
    if path is None:
        return WorkerError(
            f"a file could not be read to its end (SIGBUS) while {stage}",
            "files that stay as they are",
            "Check that nobody writes the model or the data, and the disk that they are on.",
        )
    found = f"{shorten(str(path), _LONGEST_PATH)} became shorter while it was read (SIGBUS), while {stage}"
    return WorkerError(found, "files that stay as they are", "Run it again when the file is whole.")


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


def _limit_error(limit: SystemLimit, stage: str = "") -> WorkerError:
    # The stack of a thread takes address space: where that is limited, it is what a thread lacks.
    is_memory = limit is _THREADS and _memory_limit() is not None
    return _out_of_memory(stage) if is_memory else limit.error(stage)


def _memory_limit() -> SystemLimit | None:
    if _system_limit("RLIMIT_AS") is not None:
        return _ADDRESS_SPACE
    return _DATA_SEGMENT if _system_limit("RLIMIT_DATA") is not None else None


def _out_of_memory(stage: str) -> WorkerError:
    if (limit := _memory_limit()) is not None:
        return limit.error(stage)
    found, needed, remedy = _OUT_OF_MEMORY
    return WorkerError(f"{found}{stage and f' while {stage}'}", needed, remedy)


def _system_limit(name: str, *, hard: bool = False) -> int | None:
    """A limit of this process, and of those that it starts; None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(getattr(resource, name))[hard]
    return None if limit == resource.RLIM_INFINITY else limit


def _processor_seconds() -> float:
    """Seconds of processors that ended children of this process have used so far."""
    if sys.platform == "win32":
        return 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _says(texts: tuple[str, ...], said: str) -> bool:
    return any(text in said for text in texts)
