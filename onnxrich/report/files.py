"""The sink: the only module of the package that writes results to a disk.

Everything is rendered before the disk is touched, written under temporary names, and renamed when all of it is safe.
So each file appears whole or not at all, and a failure leaves nothing behind: no partial file, no new folder.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxrich.errors import OutputError
from onnxrich.report import figure, html
from onnxrich.results import Results


def save(results: Results, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `moments.npz`, `report.html`, `figure.png`, `figure.svg` and, last, `analysis.json`.

    Args:
        results: one analysis.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files, and replace those of our names; others are left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    check(directory, force=force)
    views = _views([results])
    document = _document(results)
    return _write(Path(directory), {"moments.npz": document.pop("moments.npz"), **views, **document})


def save_comparison(
    results: Sequence[Results], directory: str | os.PathLike[str], *, force: bool = False
) -> tuple[Path, ...]:
    """Write `report.html`, `figure.png` and `figure.svg` of all models, and a folder a model with its numbers.

    Args:
        results: several analyses.
        directory: made, with its parents, when it is not there.
        force: write into a folder that holds files, and replace those of our names; others are left alone.

    Returns:
        The paths that were written.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or when it can't be written.
    """
    check(directory, force=force)
    contents = _views(results)
    for folder, result in zip(folder_names(results), results, strict=True):
        contents |= {f"{folder}/{name}": content for name, content in _document(result).items()}
    return _write(Path(directory), contents)


def check(directory: str | os.PathLike[str], *, force: bool = False) -> None:
    """Refuse a folder that `save` would refuse, before the long computation.

    Raises:
        OutputError: when it is a file, is not empty and `force` is not given, or can't be written.
    """
    path = Path(directory)
    try:
        folder, there = path.is_dir(), os.path.lexists(path)
        empty = not folder or not any(path.iterdir())
        parent = next(part for part in (path, *path.absolute().parents) if os.path.lexists(part))
        writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    except OSError as error:
        raise _refusal(path, error) from error
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


def folder_names(results: Sequence[Results]) -> list[str]:
    """A folder name for each model: its file's stem in safe characters, numbered where names repeat."""
    names: list[str] = []
    for result in results:
        stem = Path(re.split(r"[\\/]", result.record.model.path)[-1]).stem
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:60] or "model"
        name, number = safe, 2
        # Some file systems don't tell upper from lower case.
        while name.lower() in {"report.html", "figure.png", "figure.svg", *(taken.lower() for taken in names)}:
            name, number = f"{safe}-{number}", number + 1
        names.append(name)
    return names


def _views(results: Sequence[Results]) -> dict[str, bytes]:
    return {
        "report.html": html.render(results).encode("utf-8"),
        "figure.png": figure.render(results, "png"),
        "figure.svg": figure.render(results, "svg"),
    }


def _document(results: Results) -> dict[str, bytes]:
    moments = io.BytesIO()
    results.moments.save(moments, results.record.to_dict())
    # A lone surrogate (a file name that is no UTF-8) becomes "\udcff", which is its JSON escape.
    return {
        "moments.npz": moments.getvalue(),
        "analysis.json": results.to_json().encode("utf-8", errors="backslashreplace"),
    }


def _write(directory: Path, contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    targets = {directory / name: content for name, content in contents.items()}
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
            raise _refusal(directory, error) from error
        raise
    return tuple(targets)


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


def _refusal(directory: Path, error: OSError) -> OutputError:
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    reason = "no space left on the device" if full else (error.strerror or type(error).__name__)
    return OutputError(
        f"{directory}: {reason}",
        "room for the results" if full else "a folder that can be written",
        "Free some space, or choose another folder." if full else "Choose another folder, or change its permissions.",
    )
