"""The sink: which files hold the results of one analysis, or of several.

Everything is rendered before the disk is touched, and then written whole or not at all. A hidden file lists what was
written, so that another report in the same folder can take the place of the whole, and of nothing else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onnxrich._utils.files import refusal, write_files
from onnxrich.errors import OutputError
from onnxrich.report import figure, html
from onnxrich.results.analysis import Analysis
from onnxrich.results.paths import EVALUATION, MOMENTS, moments_of

# Lists the files of a report, with their digests.
LISTING = ".onnxrich.json"
LISTING_SCHEMA = "onnxrich.files/1"
# What it may list: who wrote it is not known.
_OURS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[a-z]+\.(?:csv|html|json|npz|png|svg)")
# Names that no model's folder may have.
_TAKEN = ("report.html", "figure.png", "figure.svg", "comparison.json")


def save(results: Analysis, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `moments.npz`, `report.html`, `figure.png`, `figure.svg` and, last, `analysis.json`.

    Args:
        results: one analysis.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files: an earlier report goes, what else is there is left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    check(directory, force=force)
    document = _document(results)
    # What lists the other files comes last.
    last = {"analysis.json": document.pop("analysis.json")}
    return write(directory, {**document, **views([results]), **last})


def save_comparison(
    results: Sequence[Analysis], directory: str | os.PathLike[str], *, force: bool = False
) -> tuple[Path, ...]:
    """Write `report.html`, `figure.png` and `figure.svg` of all models, and a folder a model with its numbers.

    Args:
        results: several analyses.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files: an earlier report goes, what else is there is left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    check(directory, force=force)
    contents = views(results) | documents(results)
    return write(directory, contents)


def check(directory: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a folder that `save` would refuse, before the long computation.

    Raises:
        OutputError: when it is a file, is not empty and `force` is not given, or can't be written.
    """
    path = Path(directory)
    try:
        folder, there = path.is_dir(), os.path.lexists(path)
        # The listing alone is what is left of a report whose files were removed.
        empty = not folder or all(entry.name == LISTING for entry in path.iterdir())
        parent = next(part for part in (path, *path.absolute().parents) if os.path.lexists(part))
        writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    except OSError as error:
        raise refusal(path, error) from error
    if there and not folder:
        raise OutputError(f"{path} is no folder", "a folder to write to", "Choose another path.")
    if not empty and not force:
        raise OutputError(
            f"folder {path} is not empty",
            "a new or empty folder",
            "Pass --force (force=True) to replace results that are there, or choose another folder.",
        )
    if not writable:
        raise OutputError(
            f"{parent} can't be written to",
            "a folder with write permission",
            "Choose another folder, or change its permissions.",
        )


def check_apart(directory: str | os.PathLike[str], given: Iterable[str | os.PathLike[str] | None]) -> None:
    """Refuse a folder whose earlier report, or the part of a model in it, is read: it would be replaced.

    Args:
        directory: where results are to be written.
        given: saved moments, or folders of reports; others are left alone, and None.

    Raises:
        OutputError: when the folder holds the moments of one.
    """
    folder = Path(directory)
    removed = {(folder / name).resolve() for name in (MOMENTS, *_earlier(folder))}
    for each in given:
        moments = moments_of(each)
        if moments is None:
            continue
        # A report of several models has a folder for each of them.
        of_model = moments.name == MOMENTS and moments.resolve().parent.parent == folder.resolve()
        if of_model or moments.resolve() in removed:
            raise OutputError(
                f"{each} is read, and is part of the report in {folder} that would be replaced",
                "a folder apart from what is read",
                "Choose another folder.",
            )


def folder_names(results: Sequence[Analysis]) -> list[str]:
    """A folder name for each model: its file's stem in safe characters, numbered where names repeat."""
    names: list[str] = []
    for result in results:
        stem = Path(re.split(r"[\\/]", result.record.model.path)[-1]).stem
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:60] or "model"
        name, number = safe, 2
        # Some file systems don't tell upper from lower case.
        while name.lower() in {*_TAKEN, *(taken.lower() for taken in names)}:
            name, number = f"{safe}-{number}", number + 1
        names.append(name)
    return names


def views(results: Sequence[Analysis]) -> dict[str, bytes]:
    """The page and the figures of some results, by the names of their files."""
    return {
        "report.html": html.render(results).encode("utf-8"),
        "figure.png": figure.render(results, "png"),
        "figure.svg": figure.render(results, "svg"),
    }


def documents(results: Sequence[Analysis]) -> dict[str, bytes]:
    """The numbers of several results, each in a folder of its own, by the names of their files."""
    return {
        f"{folder}/{name}": content
        for folder, result in zip(folder_names(results), results, strict=True)
        for name, content in _document(result).items()
    }


def _document(results: Analysis) -> dict[str, bytes]:
    moments = {MOMENTS: _moments(results)}
    if results.evaluation is not None:
        moments[EVALUATION] = _moments(results.evaluation)
    # A lone surrogate (a file name that is no UTF-8) becomes "\udcff", which is its JSON escape.
    return {
        **moments,
        "analysis.json": results.to_json().encode("utf-8", errors="backslashreplace"),
    }


def _moments(results: Analysis) -> bytes:
    file = io.BytesIO()
    results.moments.save(file, results.record.to_dict())
    return file.getvalue()


def write(directory: str | os.PathLike[str], contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files of a folder, by their names in it, in place of an earlier report there; whole or not at all.

    Raises:
        OutputError: when one can't be written.
    """
    directory = Path(directory)
    stale = [directory / name for name in _earlier(directory) if name not in contents]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listing = json.dumps({"schema": LISTING_SCHEMA, "files": digests}, indent=2) + "\n"
    targets = {directory / name: content for name, content in contents.items()}
    write_files({directory / LISTING: listing.encode(), **targets}, directory, stale)
    return tuple(targets)


def _earlier(directory: Path) -> list[str]:
    """Files of an earlier report, as far as they are still what it wrote: all others are the user's."""
    try:
        listed = json.loads((directory / LISTING).read_bytes())["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    try:
        return [name for name, digest in listed if _OURS.fullmatch(name) and _digest(directory, name) == digest]
    except OSError as error:
        raise refusal(directory, error) from error


def _digest(directory: Path, name: str) -> str | None:
    """The digest of a regular file; None of what is none, or lies behind a link."""
    path = directory / name
    links = path.is_symlink() or (path.parent != directory and path.parent.is_symlink())
    if links or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
