"""Weights are found in an exported model by name and by value, and swapped there."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxrich.frameworks.weights import WeightSource, swap_weights, weight_sources

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 4)).astype(np.float32)
BIAS = np.zeros(4, np.float32)


def model(**arrays: np.ndarray) -> ModelProto:
    """A model of nothing but initializers."""
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(helper.make_graph([], "g", [], [], tensors))


def test_weight_sources() -> None:
    """The same name comes before the same values; transposes count, other values and indices don't."""
    weights = {"first.bias": BIAS, "second.bias": BIAS.copy(), "w": A, "square": B, "steps": np.array([3])}
    arrays = {"second.bias": BIAS, "square": B.T.copy(), "index": np.array([3])}
    exported = model(anonymous=A.T.copy(), other=A + 1, **arrays)
    assert weight_sources(exported, weights) == {
        "second.bias": WeightSource("second.bias", transposed=False),
        "anonymous": WeightSource("w", transposed=True),
        "square": WeightSource("square", transposed=True),
    }


def test_external_weights_have_no_source() -> None:
    """Weights in another file are not read."""
    exported = model(w=A)
    exported.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert weight_sources(exported, {"w": A}) == {}


def test_swap_weights() -> None:
    """Each source gives its present values, in the initializer's type and order; other initializers stay."""
    exported = model(w=A.T.copy(), half=B.astype(np.float16), rest=BIAS)
    sources = {"w": WeightSource("w", transposed=True), "half": WeightSource("b", transposed=False)}
    swap_weights(exported, sources, {"w": A + 1, "b": B + 1})
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    np.testing.assert_array_equal(values["w"], A.T + 1)
    np.testing.assert_array_equal(values["half"], (B + 1).astype(np.float16))
    np.testing.assert_array_equal(values["rest"], BIAS)
