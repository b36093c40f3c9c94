"""A look at the first rows: do pixels lie on the scale that the model seems to take? Only a warning comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input, Model
from onnxrich.model.graph import Graph

# Operators that keep the scale of what they are given, and those that set another.
_KEEP = {"Identity", "Cast", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Pad"}
_SCALE = {
    "Div", "Mul", "Sub", "Add", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "QuantizeLinear",
}  # fmt: skip
# A value that bytes reach and scaled pixels don't, and the factor of a division that is meant for bytes.
BYTES_REACH, LARGE_DIVISOR = 128, 100.0


def warn_on_pixel_scale(source: Source, model: Model) -> Source:
    """The source, with a notice in its ledger when nothing was declared and the first rows look badly scaled.

    The criterion is narrow: floats for an input of four axes that are all whole numbers from 0 to 255, and reach 128,
    are bytes; a model whose first operators leave their scale was not trained on them in all likelihood. Floats from 0
    to 1 for a model that divides by 100 or more first are scaled twice.
    """
    images = [entry for entry in model.inputs if entry.shape is not None and len(entry.shape) == 4]
    if source.preprocessing is not None or source.synthetic or not images:
        return source

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        first = shard is None or shard.start == 0
        for batch in source.read(shard, size):
            if first:
                first = False
                for entry in images:
                    message = _doubt(entry, batch.inputs[entry.name], model)
                    source.ledger.doubts += [Notice("pixel_scale", message)] if message else []
            yield batch

    return replace(source, read=read)


def _doubt(entry: Input, pixels: AnyArray, model: Model) -> str:
    if pixels.dtype.kind != "f" or not pixels.size or not np.isfinite(pixels).all():
        return ""
    low, high = float(pixels.min()), float(pixels.max())
    operator, divisor = first_scaling(model, entry.name)
    whole = low >= 0 and BYTES_REACH <= high <= 255 and bool((pixels == np.round(pixels)).all())
    if whole and operator == "":
        return (
            f"The values of input {entry.name!r} are whole numbers up to {high:.0f}, and the model doesn't scale them "
            "itself: if it was trained on scaled pixels, pass --scale 1/255, and --mean and --std as in training."
        )
    if low >= 0 and 0 < high <= 1 and divisor is not None and divisor >= LARGE_DIVISOR:
        return (
            f"The values of input {entry.name!r} lie between 0 and {high:.3g}, and the model divides them by "
            f"{divisor:g} itself: they may be scaled twice. Pass them as they are before scaling."
        )
    return ""


def first_scaling(model: Model, name: str) -> tuple[str, float | None]:
    """The operator that rescales an input before anything else is done to it, empty without one, and its divisor."""
    graph = Graph(model)
    while True:
        users = [node for node in model.proto.graph.node if name in node.input]
        node = next((node for node in users if node.op_type in _SCALE), users[0] if users else None)
        if node is None or node.op_type not in _KEEP | _SCALE:
            return "", None
        if node.op_type in _KEEP:
            name = node.output[0]
            continue
        other = next((given for given in node.input if given != name), "")
        if node.op_type not in ("Div", "Mul") or not graph.is_constant(other):
            return node.op_type, None
        value = float(np.abs(graph.constant(other).astype(np.float64)).max(initial=0.0))
        if node.op_type == "Mul":
            value = 1 / value if value else 0.0
        return node.op_type, value


def check_index_range(source: Source, model: Model) -> Source:
    """The source, which refuses indices beyond the table in which the model looks them up."""
    integers = [entry.name for entry in model.inputs if entry.dtype is not None and entry.dtype.kind in "iu"]
    if not integers or source.synthetic:
        return source
    graph = Graph(model)
    tables = {name: rows for name in integers if (rows := graph.rows_looked_up(name)) is not None}
    if not tables:
        return source

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        start = 0 if shard is None else shard.start
        for batch in source.read(shard, size):
            _check(batch, tables, start)
            start += batch.rows
            yield batch

    return replace(source, read=read)


def _check(batch: Batch, tables: Mapping[str, int], start: int) -> None:
    for name, rows in tables.items():
        values = batch.inputs[name]
        # ONNX's Gather counts negative indices from the end.
        wrong = (values < -rows) | (values >= rows)
        if wrong.any():
            at = int(np.argwhere(wrong)[0][0]) if values.ndim else 0
            raise DataError(
                f"index {values[wrong].reshape(-1)[0]} of input {name!r} in row {start + at}",
                f"indices from 0 to {rows - 1}: the model looks them up in a table of {rows:,} rows",
                "Check that the data were made for this model, with its tokenizer.",
            )
