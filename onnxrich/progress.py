"""What long work tells whoever waits for it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

# Bytes of a checkpoint that say what it is of.
LARGEST_DESCRIPTION = 2**20


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    Attributes:
        stage: what is being done, for people.
        rows: samples done, 0 in a stage that does not go through them.
        total: samples in all, None for a stream and in such a stage.
        rate: samples a second, 0 where it is not measured.
        d_lr: D_LR of the rows so far, None before the first look.
        waiting: share of the time in which the device waited for data, from 0 to 1.
    """

    stage: str
    rows: int = 0
    total: int | None = None
    rate: float = 0.0
    d_lr: float | None = None
    waiting: float = 0.0


def goes_on(checkpoint: str | os.PathLike[str] | None) -> str:
    """What to say of a pass that ended before its time, where a checkpoint holds what it had summed; else nothing."""
    try:
        with zipfile.ZipFile(checkpoint or "") as file, file.open("checkpoint.npy") as told:
            # Bytes of JSON behind the header of an array.
            content = told.read(LARGEST_DESCRIPTION)
        samples = int(json.loads(content[content.index(b"{", content.index(b"\n")) :])["samples"])
    except (OSError, KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile):
        return ""  # none is there, or it is something else
    assert checkpoint is not None  # noqa: S101 - it was opened
    same = "the same command, with the same --batch-size and --blocks, goes on from there"
    return f"{samples:,} samples are in {os.fspath(checkpoint)!r}: {same}."


Listener = Callable[[Progress], None]
