"""A pass that survives its process: the sums so far and the position in the data, in a file that is whole at any time.

Requirements: batch b adds to block b mod G, and a checkpoint is taken between two batches. So a pass that goes on at
the position of its checkpoint adds the same numbers in the same order as one that was never stopped: the same to the
bit.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onnxrich._utils.writing import stage as stage_file
from onnxrich._utils.writing import sweep
from onnxrich.data.formats.numpy import read_arrays
from onnxrich.errors import DataError, OutputError
from onnxrich.moments.matrix import Array

SCHEMA = "onnxrich.checkpoint/2"
ANEW = "Pass another --checkpoint, or remove the file to begin anew."


@dataclass(frozen=True, eq=False)
class State:
    """How far a pass is.

    Attributes:
        batches: number of batches that were added.
        samples: number of samples in them.
        fingerprint: of their rows; None before the first batch.
        shifts: about which the sums run: of the head, and of the inputs of hidden layers.
        sums: accumulators of each block; none before the first batch.
    """

    batches: int
    samples: int
    fingerprint: str | None
    shifts: Sequence[Array]
    sums: Sequence[Sequence[Array]] = ()


def stage(path: Path, about: Mapping[str, Any], state: State) -> Path:
    """Write a newer checkpoint, which `writing.place` is to put in the place of the one that is there.

    Args:
        path: the file.
        about: JSON-able description of the pass; `load` refuses another one.
        state: how far it is.

    Returns:
        Where it lies for now.

    Raises:
        OutputError: when it can't be written.
    """
    told = {"schema": SCHEMA, "about": dict(about), "batches": state.batches, "samples": state.samples}
    told["fingerprint"] = state.fingerprint
    arrays = {f"{g}.{j}": array for g, sums in enumerate(state.sums) for j, array in enumerate(sums)}
    arrays |= {f"shift.{j}": array for j, array in enumerate(state.shifts)}

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, checkpoint=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)

    return stage_file(path, write)


def load(
    path: Path,
    about: Mapping[str, Any],
    shapes: Sequence[Sequence[tuple[int, ...]]],
    shifts: Sequence[Array],
    *,
    tolerance: float,
) -> State | None:
    """The state that a checkpoint holds, None when there is none yet; half of one, of a killed process, is removed.

    Args:
        path: the file.
        about: description of the pass that is to go on.
        shapes: of the accumulators of each block.
        shifts: about which sums would run if they began now, the means of the first rows.
        tolerance: by how much of their norm those of the checkpoint may differ: another machine, or another choice of
            a GPU's kernels, rounds otherwise.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when there can be no such file.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: no such folder", "a place for the checkpoint", "Make the folder first.")
    sweep(path)
    if not os.path.lexists(path):
        return None
    try:
        arrays = read_arrays(path)
        told = json.loads(arrays["checkpoint"].tobytes())
        if told["schema"] != SCHEMA:
            raise ValueError(told["schema"])
        saved, wanted = told["about"], json.loads(json.dumps(about))
        other = next((name for name, value in wanted.items() if saved[name] != value), None)
        if other is None:
            sums = [_named(arrays, f"{g}.", block) for g, block in enumerate(shapes)]
            about_which = _named(arrays, "shift.", [shift.shape for shift in shifts])
            if all(_near(*pair, tolerance) for pair in zip(about_which, shifts, strict=True)):
                return State(int(told["batches"]), int(told["samples"]), told["fingerprint"], about_which, sums)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f" ({error.found})" if isinstance(error, DataError) else ""
        raise DataError(
            f"checkpoint {str(path)!r} is damaged or none{reason}", f"a file of schema {SCHEMA}", ANEW
        ) from error
    difference = _difference(other, saved[other], wanted[other]) if other else "the first rows give other features now"
    raise DataError(
        f"checkpoint {str(path)!r} is of another run: {difference}",
        "the same model, data and options",
        ANEW,
    )


def blocks(path: Path) -> int | None:
    """The number of blocks that a checkpoint holds; None where there is none that can be read: `load` says why."""
    try:
        told = json.loads(read_arrays(path, names=("checkpoint",))["checkpoint"].tobytes())
        return int(told["about"]["blocks"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _named(arrays: Mapping[str, Array], name: str, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The arrays of a name and numbers from 0, each of its shape."""
    found = [arrays[f"{name}{number}"] for number in range(len(shapes))]
    if [array.shape for array in found] != list(shapes):
        raise ValueError(f"shapes of {name}")
    return found


def _near(saved: Array, wanted: Array, tolerance: float) -> bool:
    return bool(np.linalg.norm(saved - wanted) <= tolerance * np.linalg.norm(wanted))


def _difference(name: str, saved: Any, wanted: Any) -> str:
    """What was another in the run of a checkpoint, in words."""
    if name != "targets":
        return f"{name} {_shown(saved)} then, {_shown(wanted)} now"
    if saved and wanted:
        return f"{saved} targets then, {wanted} now"
    return "labels were given then, none now" if saved else "no labels were given then, but are now"


def _shown(value: Any) -> str:
    """A value as text; of a hash, what tells it from others."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,}", value):
        return value[:12]
    return "none" if value is None else repr(value)
