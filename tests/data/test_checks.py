"""Pixels that look unscaled, or scaled twice, for the model are warned of; indices beyond their table are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_text import build, read_all, refused, source_of

import onnxrich
from onnxrich.errors import DataError

BYTES = np.random.default_rng(0).integers(0, 256, (40, 1, 2, 3)).astype(np.float32)
HEAD = "f = Flatten(z)\n a = MatMul(f, w1)\n h = Relu(a)\n y = MatMul(h, w2)"


def model(before: str, **weights: Any) -> Any:
    """A model whose input passes some operators before it is flattened."""
    return build(f"{before}\n {HEAD}", x="float[N,1,2,3] x", **weights)


def doubts(proto: Any, data: Any, **options: Any) -> list[str]:
    """The notices about scale after a pass."""
    source = source_of(proto, data, **options)
    for _ in range(2):
        read_all(source, 16)
    assert all(notice.code == "pixel_scale" for notice in source.skipped.notices())
    return [notice.message for notice in source.skipped.notices()]


PLAIN = {"identity": "z = Identity(x)", "moved": "t = Transpose<perm = [0,2,3,1]>(x)\n z = Identity(t)"}
SCALING = {
    "divided": ("z = Div(x, c)", {"c": np.float32(255)}), "multiplied": ("z = Mul(c, x)", {"c": np.float32(1 / 255)}),
    "after a cast": ("t = Cast<to = 1>(x)\n z = Div(t, c)", {"c": np.float32(255)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN)
def test_unscaled(kind: str) -> None:
    """Whole numbers up to 255 for a model that doesn't scale them are told once a pass."""
    (message,) = doubts(model(PLAIN[kind]), BYTES)
    assert message == (
        "The values of input 'x' are whole numbers up to 255, and the model doesn't scale them itself: if it was "
        "trained on scaled pixels, pass --scale 1/255, and --mean and --std as in training."
    )


@pytest.mark.parametrize("kind", SCALING)
def test_scaled_twice(kind: str) -> None:
    """Values up to 1 for a model that divides by 255 are told; bytes are what it wants."""
    before, weights = SCALING[kind]
    (message,) = doubts(model(before, **weights), BYTES / 255)
    assert message == (
        "The values of input 'x' lie between 0 and 1, and the model divides them by 255 itself: they may be scaled "
        "twice. Pass them as they are before scaling."
    )
    assert doubts(model(before, **weights), BYTES) == []


@pytest.mark.parametrize(
    "data", [BYTES / 255, BYTES - 128, BYTES / 4, BYTES + 0.5, BYTES * 2, np.minimum(BYTES, 127), BYTES * 0]
)
def test_no_doubt(data: np.ndarray) -> None:
    """Nothing is said of values that are no bytes, or could be anything."""
    assert doubts(model(PLAIN["identity"]), data) == []


def test_no_doubt_where_it_is_declared() -> None:
    """Who declares a scale, even 1, knows."""
    assert doubts(model(PLAIN["identity"]), BYTES, preprocessing={"scale": 1}) == []


def test_notice_in_the_result() -> None:
    """The warning is part of the result."""
    analysis = onnxrich.run(model(PLAIN["identity"]), BYTES)
    assert "pixel_scale" in {notice.code for notice in analysis.notices}


TOKENS = build(
    "e = Gather(table, x)\n m = ReduceMean<axes = [1], keepdims = 0>(e)\n h = Relu(m)\n y = MatMul(h, w2)",
    x="int64[N,4] x",
    table=np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32),
)


@pytest.mark.parametrize("value", [10, -11, 2**40])
def test_indices_beyond_the_table(value: int) -> None:
    """An index beyond the table is the data's fault, and its row is named."""
    x = np.arange(200).reshape(50, 4) % 10
    x[37, 2] = value
    with refused(
        DataError,
        f"input 'x' gets index {value} in row 37; needed: indices from 0 to 9: the model looks them up in a "
        f"table of 10 "
        "rows. Check that the data were made for this model, with its tokenizer.",
    ):
        onnxrich.run(TOKENS, x, batch_size=8)


def test_indices_from_the_end() -> None:
    """Negative indices count from the end, as ONNX says."""
    rows, _ = read_all(source_of(TOKENS, np.full((3, 4), -10)), 2)
    assert (rows["x"] == -10).all()
