"""One source for several models: which input feeds which, and arrays in the types of each."""

from __future__ import annotations

import numpy as np
import onnx
from zoo_text import build, refused, source_of, two_layers

from onnxrich.data.shared import adapt_source, choose_leader, match_inputs
from onnxrich.errors import DataError
from onnxrich.model.file import read_model

X = np.random.default_rng(0).standard_normal((10, 6)).astype(np.float32)


def reads(x: str) -> onnx.ModelProto:
    """A model with some inputs, of which it uses the first."""
    name = x.split()[1].rstrip(",")
    return build(f"f = Cast<to = 1>({name})\n a = MatMul(f, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x=x)


def test_inputs_are_matched() -> None:
    """Inputs are matched by name, or a single one with a single one; else both lists are told."""
    one, two = read_model(two_layers()), read_model(reads("float[N,6] x, float[N,2] b"))
    named = read_model(reads("float[N,6] z"))
    assert choose_leader([one, two, named]) is two
    assert match_inputs(one, two) == {"x": "x"}
    assert match_inputs(named, one) == {"z": "x"}
    with refused(DataError, "takes 'z', and <ModelProto> takes 'x', 'b'; needed: models whose inputs have the same"):
        match_inputs(named, two)


def test_arrays_in_the_types_of_each() -> None:
    """The leader's batches are converted to the other model's types, and refused where they don't fit."""
    leader, other = read_model(two_layers()), read_model(reads("double[N,6] z"))
    source = source_of(two_layers(), X)
    (batch,) = adapt_source(other, source, leader).batches(10)
    assert batch.inputs["z"].dtype == np.float64
    np.testing.assert_array_equal(batch.inputs["z"], X)
    narrow = read_model(reads("float[N,5] z"))
    with refused(DataError, "input 'z' gets data of shape 10 × 6; needed: shape N × 5."):
        list(adapt_source(narrow, source, leader).batches(10))
