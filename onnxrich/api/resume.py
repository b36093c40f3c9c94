"""What an interrupted pass leaves: how many samples its checkpoint holds."""

from __future__ import annotations

import json
import os
import zipfile

# Bytes of a checkpoint that say what it is of.
LARGEST_DESCRIPTION = 2**20


def resume_hint(checkpoint: str | os.PathLike[str] | None) -> str:
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
