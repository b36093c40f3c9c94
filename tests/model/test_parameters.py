"""‖θ‖² of a model is the sum of squares of its dequantised weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser
from zoo_text import build

from onnxrich.model.file import Model, read_model
from onnxrich.model.parameters import count_parameters, squared_norm, weights_sha256

PLAIN = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] b = {1, -1},
 float[2] mean = {9, 9}, float[2] var = {9, 9}, int64[1] axis = {7}>
{
  f = MatMul(x, w)
  g = Add(f, b)
  y = BatchNormalization(g, b, b, mean, var)
}
"""
QUANTIZED = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (float[N, 2] y)
<int8[3, 2] w = {1, 2, 3, 4, 5, 6}, float[2] scale = {0.5, 0.25}, int8[2] zero = {1, 2}>
{
  d = DequantizeLinear<axis = 1>(w, scale, zero)
  y = MatMul(x, d)
}
"""
INTEGER = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 3] x) => (int32[N, 2] y)
<uint8[3, 2] w = {1, 2, 3, 4, 5, 6}>
{
  q, s, z = DynamicQuantizeLinear(x)
  y = MatMulInteger(q, w, z)
}
"""


def read(text: str) -> Model:
    return read_model(parser.parse_model(text))


def test_floats() -> None:
    """Weights and biases count, once each; statistics of batch normalisation and indices don't."""
    assert squared_norm(read(PLAIN), external=False) == 1 + 4 + 9 + 16 + 25 + 36 + 1 + 1


def test_quantized_weights_count_as_what_they_stand_for() -> None:
    """(w − zero)·scale by column; scales and zero points themselves don't count."""
    values = (np.array([[1, 2], [3, 4], [5, 6]]) - [1, 2]) * [0.5, 0.25]
    assert squared_norm(read(QUANTIZED), external=False) == np.sum(values**2)


def test_unknown_scales_give_none() -> None:
    """Integers whose scale is computed from the input stand for nothing that is known."""
    assert squared_norm(read(INTEGER), external=False) is None


def test_linear_operators_on_quantized_weights() -> None:
    """QLinearMatMul has one scale a column."""
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (uint8[N, 2] x, float xs, uint8 xz) => (uint8[N, 2] y)
    <int8[2, 2] w = {1, 2, 3, 4}, float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 1}>
    {
      y = QLinearMatMul(x, xs, xz, w, ws, wz, xs, xz)
    }
    """
    values = (np.array([[1, 2], [3, 4]]) - [0, 1]) * [0.5, 0.25]
    assert squared_norm(read(text), external=False) == np.sum(values**2)


def test_external_weights_are_read_on_demand(tmp_path: Path) -> None:
    """Weights outside the file are left alone, unless they are asked for."""
    proto = parser.parse_model(PLAIN)
    large = np.random.default_rng(0).standard_normal((3, 2 * 4096)).astype(np.float32)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "w"))
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="weights", size_threshold=1024)
    read = read_model(path)
    assert squared_norm(read, external=False) is None
    expected = np.sum(large.astype(np.float64) ** 2) + 2
    assert squared_norm(read, external=True) == pytest.approx(expected, rel=1e-12)


RNG = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


MATRIX, HEAD, BIAS = drawn(6, 8), drawn(8, 3), drawn(3)
LEAST = float(np.finfo(np.float32).min)
POSITIONS = np.arange(32)[:, None]
ANGLES = POSITIONS * 10000.0 ** (-np.arange(0, 8, 2) / 8)
WAVES = np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=-1).reshape(32, 8).astype(np.float32)
TRIANGLE = np.tril(np.ones((8, 8), np.float32))
ATTENTION = (
    "h = MatMul(x, w1) u = Unsqueeze(h, last) v = Unsqueeze(h, first) s = MatMul(u, v) {}"
    " a = Softmax(t) c = MatMul(a, u) d = Squeeze(c, last) m = MatMul(d, w2) y = Add(m, bias)"
)
AXES = {"last": np.array([2]), "first": np.array([1])}
# Constants that are no parameters, in a model whose parameters are w1, w2 and bias: body, and the constants.
NO_PARAMETERS = {
    "a fill of the least float": ("h = MatMul(x, w1) z = Where(k, h, fill) m = MatMul(z, w2) y = Add(m, bias)",
                                  {"k": np.arange(8) < 7, "fill": np.float32(LEAST)}),
    "an operand of Max": ("h = MatMul(x, w1) z = Max(h, fill) m = MatMul(z, w2) y = Add(m, bias)",
                          {"fill": np.float32(-np.inf)}),
    "bounds, exponents, epsilons": (
        "h = MatMul(x, w1) a = Clip(h, low, high) b = Pow(a, two) c = Add(b, eps) d = Sqrt(c) m = MatMul(d, w2)"
        " y = Add(m, bias)",
        {"low": np.float32(-3), "high": np.float32(6), "two": np.float32(2), "eps": np.float32(1e-5)}),
    "a causal mask of minus infinity": (ATTENTION.format("t = Add(s, mask)"),
                                        AXES | {"mask": np.where(TRIANGLE > 0, 0, -np.inf).astype(np.float32)}),
    "a causal mask of -1e9": (ATTENTION.format("t = Add(s, mask)"), AXES | {"mask": (TRIANGLE - 1) * np.float32(1e9)}),
    "a triangle of ones": (ATTENTION.format("r = Mul(s, mask) t = Sub(r, offset)"),
                           AXES | {"mask": TRIANGLE, "offset": (1 - TRIANGLE) * np.float32(1e4)}),
    "a slice of a mask": (
        ATTENTION.format("part = Slice(mask, from, to, both) t = Add(s, part)"),
        AXES | {"mask": np.triu(np.full((16, 16), LEAST, np.float32), 1), "from": np.array([0, 0]),
                "to": np.array([8, 8]), "both": np.array([0, 1])}),
    "waves that are looked up": (
        "i = Constant<value = int64[1] {5}>() e = Gather(table, i) h = MatMul(x, w1) z = Add(h, e) m = MatMul(z, w2)"
        " y = Add(m, bias)", {"table": WAVES}),
    "waves that are added": (
        "u = Unsqueeze(x, first) w = MatMul(u, w1) s = Add(w, table) r = ReduceMean<axes = [1], keepdims = 0>(s)"
        " m = MatMul(r, w2) y = Add(m, bias)", {"table": WAVES, "first": np.array([1])}),
    "a range and frequencies": (
        "h = MatMul(x, w1) a = Mul(h, frequencies) b = Add(a, range) m = MatMul(b, w2) y = Add(m, bias)",
        {"frequencies": (10000.0 ** (-np.arange(8) / 8)).astype(np.float32), "range": np.arange(8, dtype=np.float32)}),
    "means and deviations of the inputs": (
        "c = Sub(x, mean) d = Div(c, deviation) h = MatMul(d, w1) m = MatMul(h, w2) y = Add(m, bias)",
        {"mean": drawn(6), "deviation": drawn(6)}),
    "what nothing reads": ("h = MatMul(x, w1) m = MatMul(h, w2) y = Add(m, bias)", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_PARAMETERS)
def test_constants_that_no_gradient_touched(case: str) -> None:
    """Masks, fills, bounds, ranges, tables of positions and unused constants neither count nor are squared."""
    body, constants = NO_PARAMETERS[case]
    proto = build(body, w1=MATRIX, w2=HEAD, bias=BIAS, **constants)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([np.nan, np.inf], np.float32), "unused"))
    expected = sum(float(np.sum(np.square(array, dtype=np.float64))) for array in (MATRIX, HEAD, BIAS))
    model = read_model(proto)
    assert squared_norm(model, external=False) == pytest.approx(expected, rel=1e-12)
    assert count_parameters(model) == MATRIX.size + HEAD.size + BIAS.size


SCALE, TABLE, SLOPE = drawn(8), drawn(20, 8), drawn(1)
# Constants that are parameters beside w1, w2 and bias: body, and the constants.
PARAMETERS = {
    "a scale by channel": ("h = MatMul(x, w1) z = Mul(h, extra) m = MatMul(z, w2) y = Add(m, bias)", SCALE),
    "a scale of ones": ("h = MatMul(x, w1) z = Mul(h, extra) m = MatMul(z, w2) y = Add(m, bias)", np.ones_like(SCALE)),
    "learned positions": (
        "i = Constant<value = int64[1] {5}>() e = Gather(extra, i) h = MatMul(x, w1) z = Add(h, e) m = MatMul(z, w2)"
        " y = Add(m, bias)", TABLE),
    "smooth learned positions": (
        "i = Constant<value = int64[1] {5}>() e = Gather(extra, i) h = MatMul(x, w1) z = Add(h, e) m = MatMul(z, w2)"
        " y = Add(m, bias)", np.cumsum(np.cumsum(TABLE, axis=0), axis=0)),
    "behind a transpose and a cast": (
        "t = Transpose(extra) c = Cast<to = 1>(t) h = MatMul(x, w1) g = MatMul(h, c) k = MatMul(g, back)"
        " m = MatMul(k, w2) y = Add(m, bias)", TABLE.astype(np.float16)),
    "the slope of PRelu": ("h = MatMul(x, w1) z = PRelu(h, extra) m = MatMul(z, w2) y = Add(m, bias)", SLOPE),
    "a bias with suppressed classes": ("h = MatMul(x, w1) m = MatMul(h, w2) n = Add(m, bias) y = Add(n, extra)",
                                       np.array([0.5, -0.25, -1e9], np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("case", PARAMETERS)
def test_constants_that_act_as_weights(case: str) -> None:
    """Scales, tables, slopes and biases count, with every entry that suppresses nothing."""
    body, extra = PARAMETERS[case]
    constants = {"back": np.zeros((20, 8), np.float32)} if "back" in body else {}
    model = read_model(build(body, w1=MATRIX, w2=HEAD, bias=BIAS, extra=extra, **constants))
    counted = [MATRIX, HEAD, BIAS, extra[extra.astype(np.float64) != -1e9]]
    expected = sum(float(np.sum(np.square(array, dtype=np.float64))) for array in counted)
    assert squared_norm(model, external=False) == pytest.approx(expected, rel=1e-12)
    sizes = [MATRIX.size, HEAD.size, BIAS.size, extra.size, *(array.size for array in constants.values())]
    assert count_parameters(model) == sum(sizes)


def test_bias_of_one_output() -> None:
    """The bias of a model with one output is one number, and counts."""
    body = "h = MatMul(x, w1) m = MatMul(h, w2) y = Add(m, bias)"
    proto = build(body, y="float[N,1] y", w1=MATRIX, w2=HEAD[:, :1], bias=np.array([3], np.float32))
    assert count_parameters(read_model(proto)) == MATRIX.size + 8 + 1


def test_normalisation_that_changes_nothing() -> None:
    """Exporters write group normalisation as instance normalisation by ones and zeros, and the real scale behind."""
    body = (
        "h = MatMul(x, w1) u = Reshape(h, groups) i = InstanceNormalization(u, ones, zeros) f = Reshape(i, flat)"
        " z = Mul(f, scale) m = MatMul(z, w2) y = Add(m, bias)"
    )
    constants = {"groups": np.array([0, 2, -1]), "flat": np.array([0, 8]), "ones": np.ones(2, np.float32),
                 "zeros": np.zeros(2, np.float32), "scale": SCALE}  # fmt: skip
    model = read_model(build(body, w1=MATRIX, w2=HEAD, bias=BIAS, **constants))
    assert count_parameters(model) == MATRIX.size + HEAD.size + BIAS.size + SCALE.size


def test_a_weight_that_is_no_number() -> None:
    """A weight of NaN makes the norm NaN, which results show as null."""
    broken = MATRIX.copy()
    broken[0, 0] = np.nan
    norm = squared_norm(read_model(build("h = MatMul(x, w1) y = MatMul(h, w2)", w1=broken, w2=HEAD)), external=False)
    assert norm is not None
    assert np.isnan(norm)


def test_sparse_weights() -> None:
    """Sparse weights count with their zeros."""
    proto = build("h = MatMul(x, s) y = MatMul(h, w2)", w2=HEAD)
    proto.graph.sparse_initializer.add(
        values=numpy_helper.from_array(np.ones(2, np.float32), "s"),
        indices=numpy_helper.from_array(np.array([0, 5])),
        dims=[6, 8],
    )
    assert count_parameters(read_model(proto)) == 6 * 8 + 8 * 3


# Digests


BODY = "h = MatMul(x, w1) r = Relu(h) m = MatMul(r, w2) y = Add(m, bias)"


def exported(**options: np.ndarray) -> onnx.ModelProto:
    return build(BODY, **({"w1": MATRIX, "w2": HEAD, "bias": BIAS} | options))


def written(path: Path, proto: onnx.ModelProto) -> Model:
    """The model of a path, whose weights lie in another file."""
    path.parent.mkdir()
    onnx.save_model(proto, path, save_as_external_data=True, location="model.data", size_threshold=0)
    return read_model(path)


def again(proto: onnx.ModelProto, change: str) -> onnx.ModelProto:
    """The same weights, exported otherwise."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    tensors = other.graph.initializer
    if change == "producer":
        other.producer_name, other.producer_version = "another exporter", "9"
    elif change == "order":
        backwards = [TensorProto.FromString(tensor.SerializeToString()) for tensor in reversed(tensors)]
        del tensors[:]
        tensors.extend(backwards)
    elif change == "names":
        names = {tensor.name: f"layers.{number}" for number, tensor in enumerate(tensors)}
        for tensor in tensors:
            tensor.name = names[tensor.name]
        for node in other.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    elif change == "values one by one":
        for tensor in tensors:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, TensorProto.FLOAT, values.shape, values.reshape(-1)))
    elif change == "other constants":
        other.graph.node.append(onnx.helper.make_node("Clip", ["y", "low"], ["z"]))
        other.graph.output[0].name = "z"
        tensors.append(numpy_helper.from_array(np.float32(-1e9), "low"))
        tensors.append(numpy_helper.from_array(np.zeros(7, np.float32), "unused"))
    elif change == "constant nodes":
        for tensor in list(tensors):
            other.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
        del tensors[:]
    return other


@pytest.mark.parametrize(
    "change", ["producer", "order", "names", "values one by one", "other constants", "constant nodes"]
)
def test_another_export_has_the_same_weights(change: str) -> None:
    """The digest of the weights tells nothing of names, order, producer and form; that of the model differs."""
    first, other = read_model(exported()), read_model(again(exported(), change))
    assert weights_sha256(other) == weights_sha256(first)
    assert other.sha256 != first.sha256


@pytest.mark.parametrize("name", ["w1", "w2", "bias"])
def test_other_training_has_other_weights(name: str) -> None:
    """One changed float in any weight changes both digests."""
    values = {"w1": MATRIX, "w2": HEAD, "bias": BIAS}[name].copy()
    values.reshape(-1)[-1] = np.nextafter(values.reshape(-1)[-1], np.float32(9))
    first, other = read_model(exported()), read_model(exported(**{name: values}))
    assert weights_sha256(other) != weights_sha256(first)
    assert other.sha256 != first.sha256


def test_statistics_and_quantised_weights_are_in_the_digest() -> None:
    """Running means are no parameters, but part of what was trained; so are integers and their scales."""
    moved = PLAIN.replace("mean = {9, 9}", "mean = {9, 8}")
    assert weights_sha256(read(moved)) != weights_sha256(read(PLAIN))
    for old, new in (("{0.5, 0.25}", "{0.5, 0.5}"), ("4, 5, 6}", "4, 5, 7}"), ("zero = {1, 2}", "zero = {1, 1}")):
        assert weights_sha256(read(QUANTIZED.replace(old, new))) != weights_sha256(read(QUANTIZED)), old


def test_digests_cover_external_weights(tmp_path: Path) -> None:
    """A float that changes in another file changes both digests, which are else those of the definition."""
    model = written(tmp_path / "first" / "model.onnx", exported())
    assert weights_sha256(model) == weights_sha256(read_model(exported()))
    content = (tmp_path / "first" / "model.data").read_bytes()
    lines = f"{hashlib.sha256(model.data).hexdigest()} \n{hashlib.sha256(content).hexdigest()} model.data\n"
    assert model.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    again = written(tmp_path / "again" / "model.onnx", exported())
    assert (again.sha256, weights_sha256(again)) == (model.sha256, weights_sha256(model))
    changed = bytearray(content)
    changed[5] ^= 1
    (tmp_path / "again" / "model.data").write_bytes(changed)
    other = read_model(tmp_path / "again" / "model.onnx")
    assert other.data == model.data
    assert other.sha256 != model.sha256
    assert weights_sha256(other) != weights_sha256(model)


def test_digest_of_weights_by_its_definition() -> None:
    """SHA-256 of the sorted digests of type, shape and values."""
    digests = [
        hashlib.sha256(f"1 {array.shape}\n".encode() + array.astype("<f4").tobytes()).digest()
        for array in (MATRIX, HEAD, BIAS)
    ]
    assert weights_sha256(read_model(exported())) == hashlib.sha256(b"".join(sorted(digests))).hexdigest()
