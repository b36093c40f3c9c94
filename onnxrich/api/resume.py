"""What an interrupted pass leaves: how many samples its checkpoint holds."""

from __future__ import annotations

import os
from pathlib import Path

from onnxrich._utils.files import open_regular
from onnxrich._utils.parsing import LARGEST, parse_json
from onnxrich.errors import DataError


def resume_hint(checkpoint: str | os.PathLike[str] | None) -> str:
    """What to say of a pass that ended before its time, where a checkpoint holds what it had summed; else nothing."""
    if checkpoint is None:
        return ""
    # NumPy, which it needs, takes longer to import than the command line.
    from onnxrich._utils.archive import MOST_ARRAYS, open_archive

    try:
        with (
            open_regular(Path(checkpoint), DataError, "a checkpoint") as file,
            open_archive(file, arrays=MOST_ARRAYS) as archive,
        ):
            samples = int(parse_json(archive.read("checkpoint", "u1", most=LARGEST).tobytes())["samples"])
    except (KeyError, TypeError, ValueError):
        return ""  # none is there, or it is something else
    same = "the same command, with the same --batch-size and --blocks, goes on from there"
    return f"{samples:,} samples are in {os.fspath(checkpoint)!r}: {same}."
