"""Checks of values against the graph: a warning about the scale of pixels, an error for indices beyond a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input, Model
from onnxrich.model.graph import Graph

# Operators that keep the scale of their input, and operators that set another one.
_KEEP = {"Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad"}
_SCALE = {
    "Div", "Mul", "Sub", "Add", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "QuantizeLinear",
}  # fmt: skip
# A value that bytes reach and scaled pixels don't, and the least divisor that is meant for bytes.
_BYTES_REACH, _LARGE_DIVISOR = 128, 100.0


def warn_on_pixel_scale(source: Source, model: Model) -> Source:
    """Return the source with a notice when no preprocessing is declared and the first rows look wrongly scaled.

    The criterion is narrow, and looks at inputs with four axes alone:

    1. Floats that are all whole numbers from 0 to 255, and reach 128, are bytes: in all likelihood a model whose first
       operators keep their scale was not trained on them.
    2. Floats from 0 to 1 for a model that first divides by 100 or more are scaled twice.
    """
    images = [entry for entry in model.inputs if entry.shape is not None and len(entry.shape) == 4]
    if source.preprocessing is not None or source.synthetic or not images:
        return source

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        unchecked = shard is None or shard.start == 0
        for batch in source.read(shard, size):
            if unchecked:
                unchecked = False
                messages = (_doubt_scale(entry, batch.inputs[entry.name], model) for entry in images)
                source.skipped.pass_notices += [Notice("pixel_scale", message) for message in messages if message]
            yield batch

    return replace(source, read=read)


def _doubt_scale(entry: Input, pixels: AnyArray, model: Model) -> str:
    """Return the message about pixels that look wrongly scaled, empty for others."""
    if pixels.dtype.kind != "f" or not pixels.size or not np.isfinite(pixels).all():
        return ""
    low, high = float(pixels.min()), float(pixels.max())
    operator, divisor = find_first_scaling(model, entry.name)
    # Case 1
    if operator == "" and low >= 0 and _BYTES_REACH <= high <= 255 and bool((pixels == np.round(pixels)).all()):
        return (
            f"The values of input {entry.name!r} are whole numbers up to {high:.0f}, and the model doesn't scale them "
            "itself: if it was trained on scaled pixels, pass --scale 1/255, and --mean and --std as in training."
        )
    # Case 2
    if low >= 0 and 0 < high <= 1 and divisor is not None and divisor >= _LARGE_DIVISOR:
        return (
            f"The values of input {entry.name!r} lie between 0 and {high:.3g}, and the model divides them by "
            f"{divisor:g} itself: they may be scaled twice. Pass them as they are before scaling."
        )
    return ""


def find_first_scaling(model: Model, name: str) -> tuple[str, float | None]:
    """Find the first operator that rescales an input, and its divisor.

    Returns:
        Type of the operator, empty without one, and the divisor, None where it is no constant.
    """
    graph = Graph(model)
    while True:
        users = [node for node in model.proto.graph.node if name in node.input]
        node = next((node for node in users if node.op_type in _SCALE), users[0] if users else None)
        if node is None or node.op_type not in _KEEP | _SCALE:
            return "", None
        if node.op_type in _KEEP:
            name = node.output[0]
            continue
        operand = next((operand for operand in node.input if operand != name), "")
        if node.op_type not in ("Div", "Mul") or not graph.is_constant(operand):
            return node.op_type, None
        value = float(np.abs(graph.constant(operand).astype(np.float64)).max(initial=0.0))
        if node.op_type == "Mul":
            value = 1 / value if value else 0.0
        return node.op_type, value


def check_index_range(source: Source, model: Model) -> Source:
    """Return the source with a check of indices against the tables in which the model looks them up.

    Its batches raise a DataError for an index beyond the table.
    """
    integers = [entry.name for entry in model.inputs if entry.dtype is not None and entry.dtype.kind in "iu"]
    if not integers or source.synthetic:
        return source
    graph = Graph(model)
    table_rows = {name: rows for name in integers if (rows := graph.rows_looked_up(name)) is not None}
    if not table_rows:
        return source

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        start = 0 if shard is None else shard.start
        for batch in source.read(shard, size):
            _check_indices(batch, table_rows, start)
            start += batch.rows
            yield batch

    return replace(source, read=read)


def _check_indices(batch: Batch, table_rows: Mapping[str, int], start: int) -> None:
    for name, rows in table_rows.items():
        values = batch.inputs[name]
        # ONNX's Gather counts negative indices from the end.
        beyond = (values < -rows) | (values >= rows)
        if beyond.any():
            offset = int(np.argwhere(beyond)[0][0]) if values.ndim else 0
            raise DataError(
                f"input {name!r} gets index {values[beyond].reshape(-1)[0]} in row {start + offset}",
                f"indices from 0 to {rows - 1}: the model looks them up in a table of {rows:,} rows",
                "Check that the data were made for this model, with its tokenizer.",
            )
