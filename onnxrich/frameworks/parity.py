"""Whether an exported model is what the framework computes: an open batch axis, and the same outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxrich.engine.runtime import Session, choose_device
from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.registry import LABELS, Item
from onnxrich.model.file import Model
from onnxrich.moments.precision import EPS

# Rows that an export is made and checked with: two at least, for exporters take an axis of length 1 for a constant.
FEWEST, MOST = 2, 4
# Terms of the longest sums that are common in networks: rounding errors of a sum grow with the root of its terms.
TERMS = 4096


def cut(item: Item, fewest: int, most: int) -> Item:
    """The inputs of an item with its first rows alone; they are repeated where there are too few."""
    inputs = {name: array for name, array in item.items() if name != LABELS}
    rows = next((len(array) for array in inputs.values() if array.ndim), 0)
    if not rows:
        raise DataError("an item without rows", "at least one row", "Pass data with rows.")
    index = np.arange(min(max(rows, fewest), most)) % rows
    return {name: array[index] if array.ndim and len(array) == rows else array for name, array in inputs.items()}


def check_free(read: Model, rows: Item) -> None:
    """Check that the batch axis of each input is symbolic.

    Raises:
        AdapterError: when one has a fixed size: exporters drop a symbol without a word where the model holds a number.
    """
    first = {entry.name: entry.shape[0] for entry in read.inputs if entry.shape and rows[entry.name].ndim}
    fixed = {name: size for name, size in first.items() if isinstance(size, int)}
    if fixed:
        name, size = next(iter(fixed.items()))
        raise AdapterError(
            f"input {name!r} of the exported model takes batches of {size} alone",
            "a batch size that is open",
            "Use x.shape[0], x.flatten(1) or -1 in place of a number for the rows in the model's forward pass.",
        )


def distance(read: Model, forward: Callable[[Item], Sequence[Any]], rows: Item) -> tuple[float, float]:
    """The largest relative distance of the outputs on three batch sizes, and what rounding explains of it.

    Args:
        read: the exported model.
        forward: the framework's own computation.
        rows: some rows of the inputs.

    Each of N operators rounds sums of up to 4096 terms, which errs by about √4096·eps (Higham & Mary 2019, theorem
    2.4), and independent errors of N operators add up to √N times that.
    """
    live = Session([read.data], folder=read.folder, device=choose_device("cpu"), name=read.path)
    names = [value.name for value in read.proto.graph.output]
    size = max(len(array) for array in rows.values() if array.ndim)
    worst, eps = 0.0, EPS["float32"]
    for count in (size, size + 1, 1):
        given = cut(rows, count, count)
        for got, want in zip(live.run(names, given), forward(given), strict=True):
            if want.dtype.kind != "f":
                continue
            eps = max(eps, float(np.finfo(got.dtype).eps))
            worst = max(worst, _relative(got, want))
    return worst, math.sqrt(TERMS * len(read.proto.graph.node)) * eps


def _relative(got: Any, want: Any) -> float:
    if got.shape != want.shape:
        return math.inf
    if not want.size:
        return 0.0
    scale = float(np.abs(want).max()) or 1.0
    distance = float(np.abs(got.astype(np.float64) - want).max()) / scale
    return distance if math.isfinite(distance) else math.inf
