"""Small models whose heads are known, and the rows that a patch gives of them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from onnxrich.engine.runtime import Session, choose_device
from onnxrich.model.file import Model, read_model
from onnxrich.model.head.head import Head
from onnxrich.model.patch.instrument import instrument

# Products of float32 numbers of size one, summed over some ten features and compared in double.
FLOAT32 = 1e-5

RNG = np.random.default_rng(7)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 8)),
    "w2": RNG.standard_normal((8, 3)),
    "w2t": RNG.standard_normal((3, 8)),
    "b2": RNG.standard_normal(3),
    "b3": RNG.standard_normal(3) + 4,
    "b1": RNG.standard_normal(1),
    "t": np.array(0.5),
    "k": RNG.standard_normal((8, 2, 3, 3)),
    "k1": RNG.standard_normal((3, 8, 1, 1)),
    "w6": RNG.standard_normal((6, 3)),
    "axis_1": np.array([1]),
    "rows_3": np.array([-1, 3]),
    "rows_8": np.array([-1, 8]),
    "flat": np.array([1, -1]),
}
HIDDEN = "h = MatMul(x, w1)\n r = Relu(h)\n"
MAPS = "a = Conv<pads=[1,1,1,1]>(x, k)\n r = Relu(a)\n"
W1, W2, W2T, B2, B3, B1 = (
    WEIGHTS[name].astype(np.float32).astype(float) for name in ("w1", "w2", "w2t", "b2", "b3", "b1")
)


def build(body: str, *, out: str = "float[N,3] y", x: str = "float[N,6] x", opset: int = 17) -> Model:
    """A model from ONNX text, with the weights that it names."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => ({out}) {{\n {body}\n}}'
    proto = parser.parse_model(text)
    used = {name for node in proto.graph.node for name in node.input}
    for name, values in WEIGHTS.items():
        if name in used:
            typed = values if values.dtype == np.int64 else values.astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(typed, name))
    onnx.checker.check_model(proto)
    return read_model(proto)


def rows_of(model: Model, head: Head, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and outputs that the patched model gives."""
    patch = instrument(model, head)
    session = Session([model.data, patch.data], folder=None, device=choose_device("cpu"), name="test")
    features, outputs = session.run([patch.features, patch.outputs], {"x": x} | patch.idle_feed)
    return features.astype(float), outputs.astype(float)


def relu(x: np.ndarray) -> np.ndarray:
    """Max(x, 0)."""
    return np.maximum(x, 0)
