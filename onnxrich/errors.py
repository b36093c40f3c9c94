"""Every failure that onnxrich expects, and the notices that results carry.

A message has three parts: what was found, what was needed, what to do next. They are separate arguments, so that no
raise site leaves one out without a decision: `needed` is empty where it would say nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from onnxrich._utils.text import LONGEST_MESSAGE, LONGEST_NOTICE, display, fit_message, has_long_names

# Characters of the code of a notice.
_LONGEST_CODE = 60


class OnnxrichError(Exception):
    """Root of all expected failures.

    Its parts are escaped, and where they hold a name of more than 200 characters, names are cut until the whole message
    has at most 300: what they name comes from untrusted files. No message has more than 600.

    Args:
        found: what was found.
        needed: what was needed instead; empty where the finding says it.
        remedy: what to do or to type next.
    """

    def __init__(self, found: str, needed: str, remedy: str) -> None:
        parts = (found, needed, remedy)
        # Our own sentences stay whole; only where a name is too long, the message is drawn together.
        longest = LONGEST_MESSAGE if has_long_names(*parts) else LONGEST_NOTICE
        room = longest - len("; needed: . ")
        self.found, self.needed, self.remedy = fit_message(found, needed, remedy, limit=room)
        super().__init__(self.found, self.needed, self.remedy)

    def __str__(self) -> str:
        needed = f"; needed: {self.needed}" if self.needed else ""
        return f"{self.found}{needed}. {self.remedy}".rstrip()

    def add_note(self, note: str) -> None:
        """Add a note, such as the traceback of a worker, line by line escaped."""
        super().add_note("\n".join(fit_message(line, limit=LONGEST_NOTICE)[0] for line in note.split("\n")))


class ModelError(OnnxrichError, ValueError):
    """The model file can't be read or run."""


class HeadError(OnnxrichError, LookupError):
    """No head, or more than one, fits; the message lists the candidates."""


class DataError(OnnxrichError, ValueError):
    """The data don't fit the model, or hold values that nothing can be computed from."""


class DeviceError(OnnxrichError, RuntimeError):
    """The asked-for device or execution provider can't be used."""


class OutputError(OnnxrichError, OSError):
    """A result can't be written where it was asked for."""


class WorkerError(OnnxrichError, RuntimeError):
    """The worker process ended before it had a result: a crash, a deadline or a memory limit."""


class AdapterError(OnnxrichError, TypeError):
    """No adapter, or more than one, takes a framework's model, or its export is not what the framework computes."""


@dataclass(frozen=True)
class Notice:
    """A warning that belongs to a result.

    Attributes:
        code: stable snake_case identifier, for pipelines.
        message: a sentence or two for a person. It is escaped, and names in it are cut until it has at most 600
            characters.
    """

    code: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", display(self.code, _LONGEST_CODE))
        object.__setattr__(self, "message", fit_message(self.message, limit=LONGEST_NOTICE)[0])


@contextlib.contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Put a name before the message of what goes wrong inside, where it does not stand there yet."""
    try:
        yield
    except OnnxrichError as error:
        if display(name) in error.found:
            raise
        raise type(error)(f"{name}: {error.found}", error.needed, error.remedy) from error
