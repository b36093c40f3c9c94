"""Every failure that onnxrich expects, and the notices that results carry.

A message has three parts: what was found, what was needed, what to do next. They are separate arguments, so that no
raise site leaves one out without a decision: `needed` is empty where it would say nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass


def printable(text: str) -> str:
    """Text with every control character escaped: names come from untrusted models and must not steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class OnnxrichError(Exception):
    """Root of all expected failures.

    Args:
        found: what was found.
        needed: what was needed instead; empty where the finding says it.
        remedy: what to do or to type next.
    """

    def __init__(self, found: str, needed: str, remedy: str) -> None:
        super().__init__(found, needed, remedy)
        self.found, self.needed, self.remedy = found, needed, remedy

    def __str__(self) -> str:
        needed = f"; needed: {self.needed}" if self.needed else ""
        return printable(f"{self.found}{needed}. {self.remedy}".rstrip())


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
        message: one sentence for a person.
    """

    code: str
    message: str


@contextlib.contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Put a name before the message of what goes wrong inside, where it does not stand there yet."""
    try:
        yield
    except OnnxrichError as error:
        if name in error.found:
            raise
        raise type(error)(f"{name}: {error.found}", error.needed, error.remedy) from error
