"""Tables that Parquet and Arrow hold: other types, nulls, lists and names in the place of a column."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from fuzz.mutations import EDGES, FLOATS, NAMES
from fuzz.rows import COLUMNS, X, Y

N = len(X)


def table(rng: random.Random) -> pa.Table:
    """The rows as one column of lists or as six of numbers, with labels, and some columns changed."""
    columns: dict[str, Any] = {"x": _lists(rng)} if rng.random() < 0.6 else dict(zip(COLUMNS, X.T, strict=True))
    columns["y"] = pa.array(Y)
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(columns))
        columns[rng.choice((name, name, rng.choice(NAMES)))] = rng.choice(_COLUMNS)(rng)
    names = [name.encode(errors="replace").decode() for name in columns]
    if rng.random() < 0.05:
        names[-1] = names[0]
    arrays = [pa.array(column) if isinstance(column, np.ndarray) else column for column in columns.values()]
    return pa.Table.from_arrays(arrays, names)


def _lists(rng: random.Random) -> pa.Array:
    return rng.choice(
        (
            lambda: pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 6),
            lambda: pa.array(X.tolist(), pa.list_(pa.float32())),
            lambda: pa.array(X.tolist(), pa.large_list(pa.float64())),
            lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(X),
            lambda: pa.array([row if at % 5 else row[:3] for at, row in enumerate(X.tolist())], pa.list_(pa.float32())),
            lambda: pa.array([row if at % 7 else None for at, row in enumerate(X.tolist())], pa.list_(pa.float32())),
            lambda: pa.array([[None, *row[1:]] for row in X.tolist()], pa.list_(pa.float32())),
            lambda: pa.array([[row[:3], row[3:]] for row in X.tolist()], pa.list_(pa.list_(pa.float32()))),
        )
    )()


def _integers(rng: random.Random) -> pa.Array:
    kind = rng.choice((pa.int8(), pa.uint8(), pa.int16(), pa.int64(), pa.uint64(), pa.int32()))
    return pa.array([rng.choice((None, 0, 1, 2, 100)) if rng.random() < 0.1 else int(label) for label in Y], kind)


def _edges(rng: random.Random) -> pa.Array:
    values = [rng.choice(EDGES) if rng.random() < 0.1 else int(label) for label in Y]
    return pa.array(values, pa.uint64() if min(values) >= 0 else pa.int64())


def _floats(rng: random.Random) -> pa.Array:
    kind = rng.choice((pa.float32(), pa.float64()))
    return pa.array([rng.choice(FLOATS) if rng.random() < 0.1 else float(label) for label in Y], kind)


def _dictionary(rng: random.Random) -> pa.Array:
    values = (["a", "b", None], [5, 7, 9], [0.5, 1.5, 2.5], [b"a", b"b", b"c"])
    index = [None if rng.random() < 0.05 else int(label) for label in Y]
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(rng.choice(values)))


def _structure(rng: random.Random) -> pa.Array:
    return pa.array([{rng.choice(("bytes", "path", "a")): rng.choice((1, "a", b"a", None))}] * N)


def _others(rng: random.Random) -> pa.Array:
    makers: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([rng.choice(NAMES).encode(errors="replace").decode()] * N),
        lambda: pa.array([b"\x89PNG"] * N),
        lambda: pa.array([None] * N),
        lambda: pa.array(Y).cast(pa.timestamp("s")),
        lambda: pa.array(Y).cast(pa.decimal128(25, 2)),
        lambda: pa.array([True, False] * (N // 2)),
        lambda: pa.array(X[:, 0].astype(np.float16)),
        lambda: pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
        lambda: pa.array([[]] * N, pa.list_(pa.float32())),
        lambda: pa.array([[1] * 5000] * N),
        lambda: pa.array(Y).cast(pa.duration("s")),
    )
    return rng.choice(makers)()


_COLUMNS = (_lists, _integers, _edges, _floats, _dictionary, _structure, _others)


def rows(read: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The input and the labels of a table, by way of Python's own values."""
    names = read.schema.names
    if "x" in names:
        return np.array(read.column("x").to_pylist()), np.array(read.column("y").to_pylist())
    assert sorted(names) == sorted((*COLUMNS, "y")), "other columns may be left out"
    return np.array([read.column(name).to_pylist() for name in names if name != "y"]).T, np.array(
        read.column("y").to_pylist()
    )
