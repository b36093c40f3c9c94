"""A pass that survives its process: the sums so far and the position in the data, in a file that is whole at any time.

Requirements: batch b adds to block b mod G, and a checkpoint is taken between two batches. So a pass that goes on at
the position of its checkpoint adds the same numbers in the same order as one that was never stopped: the same to the
bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onnxrich.errors import DataError, OutputError
from onnxrich.moments import Array
from onnxrich.sources.npy import read_arrays
from onnxrich.writing import replace_file, sweep

SCHEMA = "onnxrich.checkpoint/1"


@dataclass(frozen=True, eq=False)
class State:
    """How far a pass is.

    Attributes:
        batches: number of batches that were added.
        samples: number of samples in them.
        fingerprint: of their rows; None before the first batch.
        sums: accumulators of each block.
    """

    batches: int
    samples: int
    fingerprint: str | None
    sums: Sequence[Sequence[Array]]


def save(path: Path, about: Mapping[str, Any], state: State) -> None:
    """Replace the checkpoint by a newer one; whenever the process ends, one of the two is there, whole.

    Args:
        path: the file.
        about: JSON-able description of the pass; `load` refuses another one.
        state: how far it is.

    Raises:
        OutputError: when it can't be written.
    """
    told = {"schema": SCHEMA, "about": dict(about), "batches": state.batches, "samples": state.samples}
    told["fingerprint"] = state.fingerprint
    arrays = {f"{g}.{j}": array for g, sums in enumerate(state.sums) for j, array in enumerate(sums)}

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, checkpoint=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)

    replace_file(path, write)


def load(path: Path, about: Mapping[str, Any], shapes: Sequence[Sequence[tuple[int, ...]]]) -> State | None:
    """The state that a checkpoint holds, None when there is none yet; half of one, of a killed process, is removed.

    Args:
        path: the file.
        about: description of the pass that is to go on.
        shapes: of the accumulators of each block.

    Raises:
        DataError: when the file is damaged or belongs to another pass.
        OutputError: when there can be no such file.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: no such folder", "a place for the checkpoint", "Make the folder first.")
    sweep(path)
    if not os.path.lexists(path):
        return None
    arrays = read_arrays(path)
    try:
        told = json.loads(arrays["checkpoint"].tobytes())
        if told["schema"] != SCHEMA:
            raise ValueError(told["schema"])
        _check_same(path, told["about"], json.loads(json.dumps(about)))
        sums = [[arrays[f"{g}.{j}"] for j in range(len(block))] for g, block in enumerate(shapes)]
        if [[array.shape for array in block] for block in sums] != [list(block) for block in shapes]:
            raise ValueError("shapes")
        return State(int(told["batches"]), int(told["samples"]), told["fingerprint"], sums)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"checkpoint {str(path)!r} is damaged or none",
            f"a file of schema {SCHEMA}",
            "Pass another --checkpoint to begin anew.",
        ) from error


def blocks(path: Path) -> int | None:
    """The number of blocks that a checkpoint holds; None where there is none that can be read: `load` says why."""
    try:
        told = json.loads(read_arrays(path, names=("checkpoint",))["checkpoint"].tobytes())
        return int(told["about"]["blocks"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _check_same(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if saved[name] != value:
            raise DataError(
                f"checkpoint {str(path)!r} is of another run: its {name} is {saved[name]!r}, this one's {value!r}",
                "the same model, data and options",
                "Pass another --checkpoint, or remove the file to begin anew.",
            )
