"""Calls of a framework's exporter: silenced, with its errors put into words."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from onnxrich.errors import AdapterError


@contextlib.contextmanager
def quiet(logger: str, level: int) -> Iterator[None]:
    """Suppress all warnings, and messages of a logger below a level of `logging`."""
    log = logging.getLogger(logger)
    previous = log.level
    log.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(previous)


@contextlib.contextmanager
def explain_errors(found: str, needed: str, remedy: str) -> Iterator[None]:
    """Raise any error of an exporter as an `AdapterError` that quotes it.

    Args:
        found: what failed, as the beginning of a sentence.
        needed: as of `AdapterError`.
        remedy: as of `AdapterError`.
    """
    try:
        yield
    except Exception as error:
        raise AdapterError(f"{found}: {summarize(error)}", needed, remedy) from error


def summarize(error: BaseException) -> str:
    """Class of an error, and the first line of its message."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"
