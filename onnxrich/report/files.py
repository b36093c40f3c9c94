"""The folder of a saved report: its files appear whole or not at all, and replace an earlier report alone.

A hidden file lists what was written, so that another report in the same folder can replace exactly these files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onnxrich._utils.files import refusal, write_files
from onnxrich.errors import OutputError
from onnxrich.results.paths import MOMENTS, moments_of

if TYPE_CHECKING:
    from onnxrich.report.kinds import Result

# Lists the files of a report, with their digests.
LISTING = ".onnxrich.json"
LISTING_SCHEMA = "onnxrich.files/1"
# File names that a listing may hold: its author is unknown.
_REPORT_FILE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[a-z]+\.(?:csv|html|json|npz|png|sarif|svg|xml)")


def save(result: Result, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write a result in all formats: the page, the figures and the documents.

    Args:
        result: one analysis or several, a comparison, or a training.
        directory: the folder; it and its parents are created where they are missing.
        force: write into a folder that is not empty. An earlier report is removed, all other files stay.

    Returns:
        The paths of the files. The document of the whole result comes last.

    Raises:
        OutputError: when the folder is not empty and `force` is not set, or when it can't be written. Nothing partial
            is left behind.
    """
    # The formats load Jinja2 and matplotlib: a command without --output needs neither.
    from onnxrich.report.formats import render_files

    check(directory, force=force)
    return _write(directory, render_files(result))


def check(directory: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a folder that `save` would refuse, before the long computation.

    Raises:
        OutputError: when it is a file, is not empty and `force` is not set, or can't be written.
    """
    path = Path(directory)
    try:
        is_folder, exists = path.is_dir(), os.path.lexists(path)
        # A report whose files were removed leaves its listing alone.
        is_empty = not is_folder or all(entry.name == LISTING for entry in path.iterdir())
        parent = next(part for part in (path, *path.absolute().parents) if os.path.lexists(part))
        is_writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    except OSError as error:
        raise refusal(path, error) from error
    if exists and not is_folder:
        raise OutputError(f"{path} is not a folder", "a folder to write to", "Choose another path.")
    if not is_empty and not force:
        raise OutputError(
            f"folder {path} is not empty",
            "a new or empty folder",
            "Pass --force (force=True) to replace the results in it, or choose another folder.",
        )
    if not is_writable:
        raise OutputError(
            f"{parent} can't be written to",
            "a folder with write permission",
            "Choose another folder, or change its permissions.",
        )


def check_apart(directory: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse an output folder whose earlier report holds one of the inputs: that report would be replaced.

    Args:
        directory: the output folder.
        inputs: saved moments, or folders of reports. Other files and None are ignored.

    Raises:
        OutputError: when the moments of an input belong to the report in the folder.
    """
    folder = Path(directory)
    replaced = {(folder / name).resolve() for name in (MOMENTS, *_earlier_files(folder))}
    for path in inputs:
        moments = moments_of(path)
        if moments is None:
            continue
        # A report of several models has a folder for each of them.
        is_models_part = moments.name == MOMENTS and moments.resolve().parent.parent == folder.resolve()
        if is_models_part or moments.resolve() in replaced:
            raise OutputError(
                f"the input {path} belongs to the report in {folder}, which would be replaced",
                "an output folder apart from the inputs",
                "Choose another folder.",
            )


def _write(directory: str | os.PathLike[str], contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Replace the earlier report in a folder by new files, given by name; all are written, or none."""
    directory = Path(directory)
    stale = [directory / name for name in _earlier_files(directory) if name not in contents]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listing = json.dumps({"schema": LISTING_SCHEMA, "files": digests}, indent=2) + "\n"
    targets = {directory / name: content for name, content in contents.items()}
    write_files({directory / LISTING: listing.encode(), **targets}, directory, stale)
    return tuple(targets)


def _earlier_files(directory: Path) -> list[str]:
    """List the files of an earlier report that nobody changed since: all others belong to the user."""
    try:
        listed = json.loads((directory / LISTING).read_bytes())["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    try:
        return [name for name, digest in listed if _REPORT_FILE.fullmatch(name) and _digest(directory, name) == digest]
    except OSError as error:
        raise refusal(directory, error) from error


def _digest(directory: Path, name: str) -> str | None:
    """Compute the SHA-256 of a regular file; None of anything else, and of a file behind a link."""
    path = directory / name
    is_linked = path.is_symlink() or (path.parent != directory and path.parent.is_symlink())
    if is_linked or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
