"""Opening files that nobody vouches for."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from onnxrich._utils.inside import check_inside
from onnxrich.errors import OnnxrichError, OutputError


def open_regular(path: Path, error: type[OnnxrichError], what: str, folder: Path | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: the file.
        error: class of the error to raise.
        what: what the file should be, for the message.
        folder: the folder in which the file was found, links resolved: the file must lie inside. None for a path that
            the user passed.

    Raises:
        OnnxrichError: of the given class, when the file is missing, unreadable, or no regular file, or leads out of
            the folder.
    """
    with contextlib.ExitStack() as stack:
        try:
            # A device may act when it is opened, and a FIFO blocks: look, open without blocking, and look again.
            mode, file = Path(path).stat().st_mode, None
            if stat.S_ISREG(mode):
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
                file = stack.enter_context(os.fdopen(descriptor, "rb"))
                mode = os.fstat(descriptor).st_mode
        except (OSError, ValueError) as cause:
            reason = getattr(cause, "strerror", None) or "no valid path"
            target = "path" if isinstance(cause, FileNotFoundError) else "file and its permissions"
            raise error(f"{path}: {reason}", what, f"Check the {target}.") from cause
        if file is None or not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise error(f"{path} is {kind}", what, "Pass the path of the file itself.")
        if folder is not None:
            check_inside(folder, path, error, opened=os.fstat(file.fileno()))
        stack.pop_all()
        return file


def read_limited(
    file: IO[bytes],
    limit: int,
    error: type[OnnxrichError],
    name: str,
    *,
    needed: str = "",
    remedy: str = "Check that it is the right file.",
) -> bytes:
    """Read a whole file that may be larger than any honest one, and may grow as it is read.

    Args:
        file: the file, opened for reading at any position.
        limit: bytes that it may have at most.
        error: class of the error to raise.
        name: name of the file, for the message.
        needed: what was needed instead of a larger file; by default the limit in bytes.
        remedy: what to do about a larger file.

    Raises:
        OnnxrichError: of the given class, when the file is larger.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    # As much memory is taken as is asked for.
    content = file.read(size + 1) if size <= limit else b""
    if len(content) > size:
        content += file.read(limit)
    if max(size, len(content)) > limit:
        found = f"{name} has {max(size, len(content)):,} bytes"
        raise error(found, needed or f"at most {limit:,}", remedy)
    return content


def write_files(targets: Mapping[Path, bytes], directory: Path, stale: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Write files, all of them or none; folders that are missing are made.

    Args:
        targets: content by path.
        directory: how messages name the place.
        stale: files to remove once all others are in their places, with their folders where these become empty.

    Raises:
        OutputError: when one can't be written; then nothing is removed.
    """
    made: list[Path] = []
    staged: dict[Path, Path] = {}
    fresh: list[Path] = []
    try:
        for folder in dict.fromkeys(target.parent for target in targets):
            _make(folder, made)
        for target, content in targets.items():
            if target.is_dir():
                raise OutputError(f"{target} is a folder", "a place for a file", "Move it, or choose another folder.")
            staged[target] = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
            _write_through(staged[target], content)
        for target, temporary in staged.items():
            fresh += [] if os.path.lexists(target) else [target]
            temporary.replace(target)
        for folder in dict.fromkeys(target.parent for target in targets):
            _sync_folder(folder)
    except BaseException as error:
        _undo([*staged.values(), *fresh], made)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise refusal(directory, error) from error
        raise
    try:
        _clear(stale, list(targets), directory)
    except OSError as error:
        raise refusal(directory, error) from error
    return tuple(targets)


def _clear(stale: Sequence[Path], kept: Sequence[Path], directory: Path) -> None:
    """Remove files but those that are kept, and their folders, but for one, where these become empty."""
    for path in stale:
        # Where upper and lower case are the same, a file of another name may be one that was just written.
        if path.exists() and not any(path.samefile(other) for other in kept):
            path.unlink()
    folders = [folder for folder in dict.fromkeys(path.parent for path in stale) if folder.is_dir()]
    for folder in folders:
        _sync_folder(folder)
    _undo([], [folder for folder in folders if folder != directory])


def stage(path: Path, write: Callable[[BinaryIO], None]) -> Path:
    """Write a file that `place` is to put at a path; what is there stays until then.

    Args:
        path: in a folder that is there.
        write: gets the file to write to.

    Returns:
        Where it lies for now: beside the path, and perhaps not on the disk yet.

    Raises:
        OutputError: when it can't be written.
    """
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with _whole(staged, path), staged.open("xb") as file:
        write(file)
    return staged


def place(staged: Path, path: Path) -> None:
    """Put a file that was staged at its path; at any time the old one or the new one is there, whole.

    Raises:
        OutputError: when it can't be written.
    """
    with _whole(staged, path):
        with staged.open("r+b") as file:
            os.fsync(file.fileno())
        staged.replace(path)
        _sync_folder(path.absolute().parent)


@contextlib.contextmanager
def _whole(staged: Path, path: Path) -> Iterator[None]:
    """Remove a staged file when what is done with it fails."""
    try:
        yield
    except BaseException as error:
        _undo([staged], [])
        if isinstance(error, OSError):
            raise refusal(path, error) from error
        raise


def sweep(path: Path) -> None:
    """Remove what was staged for this path, and never placed, by processes that were killed."""
    with contextlib.suppress(OSError):
        for file in path.absolute().parent.iterdir():
            before, _, token = file.name.removesuffix(".tmp").rpartition(".")
            if before == f".{path.name}" and file.suffix == ".tmp" and re.fullmatch(r"[0-9a-f]{16}", token):
                _undo([file], [])


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, noting each that was not there."""
    missing = [part for part in (folder, *folder.parents) if not part.is_dir()]
    for part in reversed(missing):
        part.mkdir(exist_ok=True)
        made.append(part)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _undo(files: Sequence[Path], folders: Sequence[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def refusal(directory: Path, error: OSError) -> OutputError:
    """The error that says why a place can't be written, and what to do."""
    if error.errno == errno.EFBIG:
        return OutputError(
            f"{directory}: {error.strerror}",
            "a higher limit of the size of files (`ulimit -f`)",
            "Raise it with `ulimit -f N`, or choose a disk that takes larger files.",
        )
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    reason = "no space left on the device" if full else (error.strerror or type(error).__name__)
    return OutputError(
        f"{directory}: {reason}",
        "room for the results" if full else "a folder that can be written",
        "Free some space, or choose another folder." if full else "Choose another folder, or change its permissions.",
    )
