"""Seeded random inputs made from a model's signature: for a smoke test, never for a measurement."""

from __future__ import annotations

import numpy as np

from onnxrich.data.matching import ReadPlan, from_table, is_constant
from onnxrich.data.preprocessing.declared import DeclaredPreprocessing
from onnxrich.data.preprocessing.steps import ResolvedPreprocessing
from onnxrich.data.selection import Selection
from onnxrich.data.source import SkippedItems, Source
from onnxrich.data.table import AnyArray, of_array, of_columns
from onnxrich.errors import DataError
from onnxrich.model.file import Input, Model
from onnxrich.model.graph import Graph

ROWS = 256
# Symbolic dimensions behind the first: sides of an image, or the length of a sequence.
SIDE, LENGTH = 64, 16


def synthesize(model: Model, seed: int, rows: int = ROWS) -> Source:
    """A source of random rows: normal floats, bytes as pixels, indices that fit the table they look up.

    Raises:
        DataError: when an input is no numeric tensor or has no known rank.
    """
    generator = np.random.default_rng(seed)
    graph = Graph(model)
    columns = {entry.name: of_array(entry.name, _values(entry, graph, generator, rows)) for entry in model.inputs}
    nothing = ResolvedPreprocessing.merged([])
    wish = ReadPlan(DeclaredPreprocessing(nothing, nothing), Selection(), seed, SkippedItems(), synthetic=True)
    return from_table(of_columns(f"synthetic (seed {seed})", columns), None, model.inputs, wish)


def _values(entry: Input, graph: Graph, generator: np.random.Generator, rows: int) -> AnyArray:
    if entry.dtype is None or entry.shape is None:
        raise DataError(
            f"input {entry.name!r} of unknown type or shape", "data: nothing can be made up for it", "Pass --data FILE."
        )
    free = SIDE if len(entry.shape) == 4 else LENGTH
    shape = tuple(size if isinstance(size, int) else free for size in entry.shape)
    if not is_constant(entry, shape, graph.model.inputs):
        shape = (rows, *shape[1:])
    if entry.dtype.kind == "b":
        return np.asarray(generator.random(shape) < 0.5)
    if entry.dtype.kind in "iu":
        highest = 256 if entry.dtype == np.uint8 else graph.rows_looked_up(entry.name) or 2
        return np.asarray(generator.integers(0, highest, shape), dtype=entry.dtype)
    return np.asarray(generator.standard_normal(shape), dtype=entry.dtype)
