"""Weights find their place in an exported model by name and by value, and are swapped there."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxrich.frameworks.weights import WeightSource, swap_weights, weight_sources

RNG = np.random.default_rng(0)
A, B = RNG.standard_normal((3, 4)), RNG.standard_normal((4, 4)).astype(np.float32)
BIAS = np.zeros(4, np.float32)


def model(**tensors: np.ndarray) -> ModelProto:
    """A model of nothing but initializers."""
    held = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    return helper.make_model(helper.make_graph([], "g", [], [], held))


def values(proto: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def test_places() -> None:
    """The same name comes before the same values; transposes count, other values and indices don't."""
    weights = {"first.bias": BIAS, "second.bias": BIAS.copy(), "w": A, "square": B, "steps": np.array([3])}
    named = {"second.bias": BIAS, "square": B.T.copy(), "index": np.array([3])}
    proto = model(anonymous=A.T.copy(), other=A + 1, **named)
    assert weight_sources(proto, weights) == {
        "second.bias": WeightSource("second.bias", transposed=False),
        "anonymous": WeightSource("w", transposed=True),
        "square": WeightSource("square", transposed=True),
    }


def test_external_weights_have_no_place() -> None:
    """What lies in another file is not read."""
    proto = model(w=A)
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert weight_sources(proto, {"w": A}) == {}


def test_swap() -> None:
    """Each place gets its weight of now, in its own type and order; the rest stays."""
    proto = model(w=A.T.copy(), half=B.astype(np.float16), rest=BIAS)
    where = {"w": WeightSource("w", transposed=True), "half": WeightSource("b", transposed=False)}
    swap_weights(proto, where, {"w": A + 1, "b": B + 1})
    now = values(proto)
    np.testing.assert_array_equal(now["w"], A.T + 1)
    np.testing.assert_array_equal(now["half"], (B + 1).astype(np.float16))
    np.testing.assert_array_equal(now["rest"], BIAS)
