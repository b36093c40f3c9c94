"""Opening files that nobody vouches for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from onnxrich.errors import OnnxrichError


def open_regular(path: Path, error: type[OnnxrichError], what: str) -> BinaryIO:
    """A regular file, opened for reading.

    Args:
        path: the file.
        error: class of the error to raise.
        what: what the file should be, for the message.

    Raises:
        OnnxrichError: of the given class, when the file is missing, unreadable, or no regular file.
    """
    try:
        # Opening a FIFO blocks for ever: open without blocking, then look what it is.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "no valid path"
        remedy = "Check the path." if isinstance(cause, FileNotFoundError) else "Check the file and its permissions."
        raise error(f"{path}: {reason}", what, remedy) from cause
    file = os.fdopen(descriptor, "rb") if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    if file is None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        kind = "a folder" if folder else "no regular file"
        raise error(f"{path} is {kind}", what, "Pass the path of the file itself.")
    return file
