"""The rule of links, the same for all that is read: nothing that is found leads out of its folder.

1. A path that the user passes is followed, wherever its links lead.
2. What is found in a folder, or named by a file in it, must lie in that folder once all links are resolved, or in the
   store of the repository or cache that the folder belongs to (see `find_root`).
3. A link to a folder is not followed. A hard link is not told apart: all names of a file are equal, so that files which
   share their content with a backup, a package cache or another data set are read as any others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from onnxrich.errors import OnnxrichError

# Files below a folder, entries of a single one, and folders inside each other, that are listed at most. The largest
# public collections of images in files have 14 million.
MOST_FILES, MOST_DEPTH = 2**24, 100

# Where DVC and git-annex keep contents by their hashes, below the folder of the repository.
_STORE = re.compile(r"\.dvc/cache/.+|\.git/(modules/.+/)?annex/objects/.+", re.DOTALL)
# The folder of one repository in a cache of Hugging Face. The files of its `snapshots` are links to its `blobs`.
_HUB = re.compile(r"(models|datasets|spaces)--.+", re.DOTALL)


def find_root(folder: Path, target: Path) -> Path | None:
    """Find the folder that holds both a folder and a file to which a name in that folder may lead.

    1. The folder itself, when the file lies in it.
    2. The repository of DVC or git-annex that the folder lies in, when the file lies in its store.
    3. The cache of one repository of Hugging Face, when a link leads from its snapshots to its blobs.

    Args:
        folder: the folder, links resolved.
        target: the file, links resolved.

    Returns:
        That folder, None where the file may not be read.
    """
    if target.is_relative_to(folder):  # Case 1
        return folder
    common = next((parent for parent in folder.parents if target.is_relative_to(parent)), None)
    if common is None:
        return None
    stored = target.relative_to(common)
    if _STORE.fullmatch(stored.as_posix()):  # Case 2
        return common
    is_snapshot = _HUB.fullmatch(common.name) and folder.relative_to(common).parts[0] == "snapshots"
    return common if is_snapshot and stored.parts[:1] == ("blobs",) else None  # Case 3


def check_inside(folder: Path, path: Path, error: type[OnnxrichError], *, opened: os.stat_result | None = None) -> Path:
    """Check that a path that was found in a folder stays inside, and return it with its links resolved.

    Args:
        folder: the folder, links resolved.
        path: the path.
        error: class of the error to raise.
        opened: status of the file that was opened by this path. It must be the one that was checked: the path may have
            been replaced in between.

    Raises:
        OnnxrichError: of the given class, when it leads out of the folder, or to another file than the opened one.
    """
    target = Path(os.path.realpath(path))
    if find_root(folder, target) is None:
        raise error(
            f"{path} leads to {target}, out of its folder",
            "files of the folder itself",
            "Copy the folder with the targets of its links (cp -rL), or pass the path of the target.",
        )
    if opened is not None and not _is_same(target, opened):
        raise error(f"{path} was replaced while it was opened", "a file that stays", "Try again.")
    return target


def _is_same(target: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(opened, os.lstat(target))
    except OSError:
        return False


def walk(folder: Path, error: type[OnnxrichError]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files below a folder, links to files and special files included, sorted by name.

    Args:
        folder: the folder.
        error: class of the error to raise.

    Yields:
        The path relative to the folder, with `/`, and the entry.

    Raises:
        OnnxrichError: of the given class, when a folder can't be read, is a link, lies too deep, or holds too much.
    """
    for number, (name, entry) in enumerate(_walk(folder, "", error)):
        if number >= MOST_FILES:
            raise _too_large(folder, error)
        yield name, entry


def list_folder(folder: Path, error: type[OnnxrichError]) -> list[os.DirEntry[str]]:
    """List what lies in a folder itself, sorted by name.

    Raises:
        OnnxrichError: of the given class, when the folder can't be read, or holds too much.
    """
    try:
        with os.scandir(folder) as scan:
            entries = list(islice(scan, MOST_FILES + 1))
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "no valid path"
        raise error(f"{folder}: {reason}", "a readable folder", "Check the folder and its permissions.") from cause
    if len(entries) > MOST_FILES:
        raise _too_large(folder, error)
    return sorted(entries, key=lambda entry: entry.name)


def check_tree(folder: Path, error: type[OnnxrichError]) -> None:
    """Check all files below a folder, for a library that reads the folder by itself.

    Raises:
        OnnxrichError: of the given class, when one leads out of the folder, or is no regular file, and as `walk`.
    """
    root = folder.resolve()
    for _, entry in walk(folder, error):
        _check_entry(root, entry, error)


def check_folder(folder: Path, error: type[OnnxrichError]) -> None:
    """Check what lies in a folder itself, for a library that reads files of the folder by itself.

    Raises:
        OnnxrichError: of the given class, when something leads out of the folder, or is neither a regular file nor a
            folder.
    """
    root = folder.resolve()
    for entry in list_folder(folder, error):
        _check_entry(root, entry, error)


def _check_entry(root: Path, entry: os.DirEntry[str], error: type[OnnxrichError]) -> None:
    if entry.is_symlink():
        check_inside(root, Path(entry.path), error)
    # Unlike the entry, these answer for links in a circle.
    if not (os.path.isfile(entry.path) or os.path.isdir(entry.path)):  # noqa: PTH112, PTH113
        raise error(f"{entry.path} is no regular file", "files and folders", "Remove it, or put a file in its place.")


def _walk(folder: Path, prefix: str, error: type[OnnxrichError]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    if prefix.count("/") > MOST_DEPTH:
        raise error(
            f"{folder} lies more than {MOST_DEPTH} folders deep", "a tree that is less deep", "Pass a folder inside it."
        )
    for entry in list_folder(folder, error):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", error)
        elif os.path.isdir(entry.path):  # noqa: PTH112 - unlike the entry, this answers for links in a circle
            # A link could lead anywhere, or round in a circle; without it, a class would be missing silently.
            raise error(
                f"{entry.path} is a link to a folder", "folders themselves", "Put the folder itself in its place."
            )
        else:
            yield prefix + entry.name, entry


def _too_large(folder: Path, error: type[OnnxrichError]) -> OnnxrichError:
    return error(f"{folder} holds more than {MOST_FILES:,} files", "fewer", "Pass a folder of fewer files.")
