"""Indices that a model looks up in a table must lie in it: the runtime's message would blame the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxrich.data.source import Batch, Shard, Source
from onnxrich.errors import DataError
from onnxrich.model.file import Model
from onnxrich.model.graph import Graph


def looked_up(source: Source, model: Model) -> Source:
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
