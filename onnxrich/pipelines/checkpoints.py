"""The checkpoints of a training: which files they are, and in what order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from onnxrich._utils.inside import check_inside, list_folder
from onnxrich.errors import DataError
from onnxrich.results.paths import MOMENTS
from onnxrich.results.track import Origin

# Kinds of files in a folder of checkpoints; those of the first kind that is there are taken.
KINDS = (".onnx", ".npz")

# A whole number in a file's name, and one behind a word that says what it is.
_WHOLE = r"(?<![0-9])(?<![0-9][.a-zA-Z])([0-9]{1,18})(?![0-9a-zA-Z]|[.][0-9])"
_NAMED = rf"(?i:(step|epoch|iter|iteration|checkpoint|ckpt))[^0-9a-zA-Z]*{_WHOLE}"


def checkpoint_files(given: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths, patterns such as `step-*.onnx`, and folders stand for.

    They are in the order in which they were given: whoever lists files knows which comes first. Those of one folder or
    pattern are in natural order.

    Raises:
        DataError: when one stands for nothing, or a file in a folder leads out of it.
    """
    found = [path for each in given for path in _files(os.fspath(each))]
    if not found:
        raise DataError("no checkpoints", "at least one", "Pass ONNX files, a pattern, or a folder of them.")
    return list(dict.fromkeys(found))


def _files(given: str) -> list[Path]:
    path = Path(given)
    folder = os.path.isdir(path)  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
    if folder:
        inside = [path / entry.name for entry in list_folder(path, DataError)]
        models, moments = ([each for each in inside if each.suffix.lower() == kind] for kind in KINDS)
        # In the folder of a report there are moments of data to evaluate on as well.
        found = models or [each for each in moments if each.name == MOMENTS] or moments
        for each in found:
            check_inside(path.resolve(), each, DataError)
    else:
        # A name with brackets is a pattern only where no file has it.
        found = [path] if os.path.lexists(path) else [Path(name) for name in glob.glob(given, recursive=True)]  # noqa: PTH207 - absolute patterns too
    if not found:
        what = "a folder without .onnx or .npz files" if folder else "no such file, folder or pattern"
        raise DataError(f"{given}: {what}", "checkpoints", "Check the path; quote patterns.")
    return sorted(found, key=natural)


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """A key by which `step-9` comes before `step-10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", str(path))
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts)


def checkpoint_steps(paths: Sequence[str], told: Sequence[int | None]) -> tuple[tuple[int, ...], Origin]:
    """The step of each checkpoint, and where it stands: in all files, in all names, or nowhere.

    In a name it is the number behind a word for it, such as step or epoch, the last of those that are another in each
    name, else the last whole number; one with a point or letters behind it, such as a loss, a size or 10k, is none.
    Saved moments of a report are called by its folder.

    Args:
        paths: of the checkpoints, in the order in which they are numbered where their steps are not known.
        told: what each file says.

    Raises:
        DataError: when two files say the same step.
    """
    known = [step for step in told if step is not None]
    if len(known) == len(paths):
        for step in known:
            if known.count(step) > 1:
                both = " and ".join(path for path, each in zip(paths, known, strict=True) if each == step)
                raise DataError(f"step {step} in {both}", "one checkpoint a step", "Leave all but one out.")
        return tuple(known), "metadata"
    names = [_name(Path(path)) for path in paths]
    for found in _numbers(names):
        if len(set(found)) == len(found):
            return found, "name"
    return tuple(range(len(paths))), "position"


def _name(path: Path) -> str:
    return path.absolute().parent.name if path.name == MOMENTS else path.stem


def _numbers(names: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """A number of each name: those behind a word that all have, the last word first, then the last whole numbers."""
    named = [{word.lower(): int(number) for word, number in re.findall(_NAMED, name)} for name in names]
    for word in reversed(named[0]):
        if all(word in each for each in named):
            yield tuple(each[word] for each in named)
    whole = [re.findall(_WHOLE, name) for name in names]
    if all(whole):
        yield tuple(int(each[-1]) for each in whole)
