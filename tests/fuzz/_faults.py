"""A target that does wrong on purpose: its files say what."""

from __future__ import annotations

import os
import random
import warnings
from pathlib import Path

from onnxrich.errors import ModelError, WorkerError

SUFFIX = ".txt"


def seeds() -> list[bytes]:
    """What `check` knows."""
    return [name.encode() for name in FAULTS]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """A seed, with a number behind it."""
    return content + b" %d" % rng.randrange(10**9)


def check(path: Path) -> None:
    """Do what the file says."""
    FAULTS[path.read_text().split()[0]]()


def _nothing() -> None:
    pass


def _refuse() -> None:
    raise ModelError("a broken file", "a whole one", "Copy it again.")


def _raise() -> None:
    raise KeyError("name")


def _unexpected() -> None:
    raise WorkerError("an error that onnxrich did not expect: KeyError: 'name'", "", "Run it again.")


def _warn() -> None:
    warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)


def _hide_warning() -> None:
    warnings.warn("an old name", DeprecationWarning, stacklevel=1)


def _crash() -> None:
    os.abort()


def _hang() -> None:
    while True:
        pass


def _fill() -> None:
    bytearray(os.urandom(1 << 20) * 600)


FAULTS = {
    "accept": _nothing, "refuse": _refuse, "raise": _raise, "unexpected": _unexpected, "warn": _warn,
    "hide_warning": _hide_warning, "crash": _crash, "hang": _hang, "fill": _fill,
}  # fmt: skip
