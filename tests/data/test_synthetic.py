"""Made-up rows: seeded, fitting the model's inputs, and marked as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.data.open import open_source
from onnxrich.data.synthetic import ROWS, synthesize
from onnxrich.errors import DataError
from onnxrich.model.file import read_model


def test_marked_and_seeded() -> None:
    """The same seed gives the same rows, another seed others; the source says that they are made up."""
    source = open_source(read_model(two_layers()), None, None, seed=3)
    assert source.synthetic
    assert source.name == "synthetic (seed 3)"
    assert source.n == ROWS
    rows = [read_all(synthesize(read_model(two_layers()), seed), 50)[0]["x"] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("float", "N,6", (ROWS, 6)), ("float16", "N,6", (ROWS, 6)), ("double", "8,6", (ROWS, 6)),
        ("float", "N,3,H,W", (ROWS, 3, 64, 64)), ("float", "N,3,8,W", (ROWS, 3, 8, 64)), ("int64", "N,T", (ROWS, 16)),
        ("float", "?,6", (ROWS, 6)), ("bool", "N,6", (ROWS, 6)), ("uint8", "N,6", (ROWS, 6)), ("int8", "N", (ROWS,)),
    ],
)  # fmt: skip
def test_shapes_and_types(kind: str, shape: str, expected: tuple[int, ...]) -> None:
    """Rows have the model's type, its fixed sizes, and some size where it leaves them open."""
    proto = build("h = Identity(x)", x=f"{kind}[{shape}] x", y=f"{kind}[{shape}] h")
    rows, _ = read_all(synthesize(read_model(proto), 0), 100)
    assert rows["x"].shape == expected
    assert rows["x"].dtype.name == {"float": "float32", "double": "float64"}.get(kind, kind)
    assert np.unique(rows["x"]).size > 1


def test_indices_fit_their_table() -> None:
    """Indices stay inside the table that they look up, and use more of it than its first rows."""
    proto = build("e = Gather(t, x)", x="int64[N,5] x", y="float[N,5,4] e", t=np.zeros((37, 4), np.float32))
    rows, _ = read_all(synthesize(read_model(proto), 0), 100)
    assert rows["x"].min() == 0
    assert rows["x"].max() == 36


@pytest.mark.parametrize("shape", ["float t", "float[6,6] t", "bool t", "int64 t", "float16[2] t"])
def test_inputs_without_rows(shape: str) -> None:
    """Scalars, and inputs of fixed shape beside batched ones, are made in their own shape."""
    proto = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x=f"float[N,6] x, {shape}")
    entry = read_model(proto).inputs[1]
    for batch in synthesize(read_model(proto), 0).batches(100):
        assert batch.inputs["t"].shape == entry.shape
        assert batch.inputs["t"].dtype == entry.dtype
        assert batch.inputs["x"].shape == (batch.rows, 6)


@pytest.mark.parametrize("kind", ["string[N] s", "seq(float[N]) s"])
def test_nothing_to_make_up(kind: str) -> None:
    """Strings and sequences can't be made up: data are asked for."""
    proto = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x=f"float[N,6] x, {kind}")
    with refused(
        DataError,
        "input 's' takes text, or has an unknown type or shape; needed: data: no random rows can be drawn for it. "
        "Pass --data FILE.",
    ):
        synthesize(read_model(proto), 0)


@pytest.mark.parametrize("options", [{"reading": {"limit": 10}}, {"preprocessing": {"scale": 0.5}}])
def test_how_to_read_is_not_taken_for_rows_that_are_made_up(options: dict) -> None:
    """A limit or a scale of no data is refused, not forgotten."""
    with refused(DataError, "options of reading were passed without data", "Pass --data FILE"):
        source_of(two_layers(), None, **options)
