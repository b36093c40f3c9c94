"""Synthetic rows: seeded random inputs with a model's signature, for a smoke test and never for a measurement."""

from __future__ import annotations

import numpy as np

from onnxrich.data.matching import ReadPlan, is_constant, source_from_table, takes_text
from onnxrich.data.missing import plan_fillings
from onnxrich.data.preprocessing.declared import DeclaredPreprocessing
from onnxrich.data.preprocessing.steps import ResolvedPreprocessing
from onnxrich.data.selection import Selection
from onnxrich.data.source import SkippedItems, Source
from onnxrich.data.table import AnyArray, Column, Table
from onnxrich.errors import DataError
from onnxrich.model.file import Input, Model
from onnxrich.model.graph import Graph

ROWS = 256
# Symbolic dimensions behind the first: sides of an image, or the length of a sequence.
_SIDE, _LENGTH = 64, 16


def synthesize(model: Model, seed: int, rows: int = ROWS) -> Source:
    """Return a source of random rows: normal floats, bytes as pixels, indices within the table of the model.

    Raises:
        DataError: when an input is no numeric tensor, or its rank is unknown.
    """
    generator = np.random.default_rng(seed)
    graph = Graph(model)
    # A past is left empty, and its branch is not taken: random lengths would not fit each other.
    filled = {filling.entry.name for filling in plan_fillings(model.inputs, ())}
    drawn = [entry for entry in model.inputs if entry.name not in filled]
    columns = {entry.name: Column.from_array(entry.name, _draw(entry, graph, generator, rows)) for entry in drawn}
    nothing = ResolvedPreprocessing.merged([])
    plan = ReadPlan(DeclaredPreprocessing(nothing, nothing), Selection(), seed, SkippedItems(), synthetic=True)
    return source_from_table(Table.from_columns(f"synthetic (seed {seed})", columns), None, model.inputs, plan)


def _draw(entry: Input, graph: Graph, generator: np.random.Generator, rows: int) -> AnyArray:
    if entry.dtype is None or entry.shape is None or takes_text(entry):
        raise DataError(
            f"input {entry.name!r} takes text, or has an unknown type or shape",
            "data: no random rows can be drawn for it",
            "Pass --data FILE.",
        )
    free = _SIDE if len(entry.shape) == 4 else _LENGTH
    shape = tuple(size if isinstance(size, int) else free for size in entry.shape)
    if not is_constant(entry, shape, graph.model.inputs):
        shape = (rows, *shape[1:])
    if entry.dtype.kind == "b":
        return np.asarray(generator.random(shape) < 0.5)
    if entry.dtype.kind in "iu":
        highest = 256 if entry.dtype == np.uint8 else graph.rows_looked_up(entry.name) or 2
        return np.asarray(generator.integers(0, highest, shape), dtype=entry.dtype)
    return np.asarray(generator.standard_normal(shape), dtype=entry.dtype)
