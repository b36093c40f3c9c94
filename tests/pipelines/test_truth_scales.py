"""Outputs of any unit and offset, constants that are no parameters, damaged files: no number is wrong or infinite."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from graphs import Array, Graph, Tensor
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from pipelines._verdict import TOLERANCE, assert_right, is_one_of, says_one_of
from zoo_text import within

import onnxrich
from onnxrich import Analysis
from onnxrich.errors import OnnxrichError

ROWS, P, C = 170, 16, 5
FLOAT_MIN = float(np.finfo(np.float32).min)
FILLS = [-1e4, -65504.0, -1e9, FLOAT_MIN, -np.inf]


def hidden() -> tuple[Graph, Tensor]:
    """A graph with a hidden layer of 16 features."""
    g = Graph(31)
    return g, g.hidden(g.input("x", g.rows(ROWS, 10), ["N", 10]), P)


def layer(g: Graph, x: Tensor, scale: Any = 1.0, shift: Any = 0.0) -> Tensor:
    """One Gemm whose weights and bias hold the units of the outputs."""
    weight = (g.weight(P, C) * scale).astype(np.float32).astype(float)
    return g.apply("Gemm", x, weight, g.weight(C) * scale + shift)


def assert_finite(analysis: Analysis) -> None:
    """The document holds no NaN and no infinity."""
    json.loads(analysis.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    for name, value in analysis.metrics.items():
        assert value is None or np.isfinite(value), name


def same_span(outputs: Array) -> Array:
    """Outputs of size one with the same span: each column by its own length, orthogonalised in double."""
    return np.linalg.qr(outputs / np.linalg.norm(outputs, axis=0))[0]


# Units of outputs


UNITS = [
    np.array([1e6, 1, 1e-3, 1, 1e3]),
    np.array([2e5, 0.01, 1, 1, 1]),
    np.array([1e-6, 1e-6, 1, 1, 1e6]),
    np.full(C, 1e-8),
    np.full(C, 1e8),
]


@pytest.mark.parametrize("units", UNITS)
def test_units_inside_the_layer(units: Array) -> None:
    """A price and a rate: units of single outputs change nothing."""
    g, h = hidden()
    y = layer(g, h, units)
    g.output(y, "y")
    result = assert_right(g, (h.value, same_span(y.value)), rows=ROWS)
    assert isinstance(result, Analysis)
    assert result.metrics["rank_outputs"] == C


@pytest.mark.parametrize("units", UNITS[:3])
def test_units_behind_the_layer(units: Array) -> None:
    """The same by a product behind the layer, as denormalisation writes it."""
    g, h = hidden()
    y = g.apply("Mul", layer(g, h), units)
    g.output(y, "y")
    assert_right(g, (h.value, same_span(y.value)), rows=ROWS)


@pytest.mark.parametrize("kind", ["inside", "behind"])
def test_price_and_rate(kind: str) -> None:
    """Two outputs with the means and deviations of their targets."""
    g, h = hidden()
    deviations, means = np.array([2e5, 0.01]), np.array([3e5, 0.04])
    if kind == "inside":
        weight, bias = g.weight(P, 2), g.weight(2)
        y = g.apply("Gemm", h, weight * deviations, bias * deviations + means)
    else:
        y = g.apply("Add", g.apply("Mul", g.linear(h, 2), deviations), means)
    g.output(y, "y")
    result = assert_right(g, (h.value, same_span(y.value)), rows=ROWS)
    assert isinstance(result, Analysis)
    assert result.metrics["rank_outputs"] == 2


OFFSETS = ("rank", "offset", "column", "scale")


@pytest.mark.parametrize("offset", [1e2, 1e4, 2e6])
def test_large_offsets(offset: float) -> None:
    """A large mean of all outputs: the number of the definition, or none with a word on the columns or the rank."""
    g, h = hidden()
    weight, bias = g.weight(P, C), (g.weight(C) + offset).astype(np.float32).astype(float)
    y = g.apply("Gemm", h, weight, bias)
    g.output(y, "y")
    # The constant is a direction of its own, and the others are the differences of the outputs.
    truth = np.column_stack([np.ones(ROWS), y.value[:, 1:] - y.value[:, :1]])
    near = (h.value, np.linalg.qr(truth)[0])
    result = assert_right(g, (h.value, same_span(y.value)), near, told=OFFSETS)
    assert isinstance(result, Analysis)
    if not says_one_of(result, OFFSETS):
        # The steps of float32 at the offset are noise of this relative size in the outputs.
        noise = offset * float(np.finfo(np.float32).eps)
        centred = oracle.d_lr_centered(h.value, h.value @ weight)
        assert result.metrics["d_lr_centered"] == pytest.approx(centred, abs=TOLERANCE + noise)


@pytest.mark.parametrize("fill", [-30.0, *FILLS])
def test_unused_classes(fill: float) -> None:
    """Classes without weights and with a bias that suppresses them are one constant, not the end of all others."""
    g, h = hidden()
    weight = np.hstack([g.weight(P, C), np.zeros((P, 3))])
    z = g.apply("Gemm", h, weight, np.concatenate([g.weight(C), np.full(3, fill)]))
    g.output(Tensor(g.apply("Softmax", Tensor(z.name, z.value[:, :C]), axis=1).name, z.value), "y", ["N", C + 3])
    active = z.value[:, :C]
    certain = bool(np.isfinite(fill))
    result = assert_right(
        g, (h.value, np.column_stack([active, np.ones(ROWS)])), (h.value, active), certain=certain,
        told=("rank", "column", "constant", "infin"),
    )  # fmt: skip
    if isinstance(result, Analysis):
        assert_finite(result)
        assert not certain or is_one_of(
            result.metrics["d_lr"], (oracle.d_lr(h.value, np.column_stack([active, np.ones(ROWS)])),)
        )


@pytest.mark.parametrize("form", ["Add", "Where"])
@pytest.mark.parametrize("fill", [-1e9, FLOAT_MIN, -np.inf])
def test_suppressed_classes(form: str, fill: float) -> None:
    """A constant behind the layer suppresses classes: their logits before it count, or their constant, or none do."""
    g, h = hidden()
    z = g.linear(h, 8)
    is_active = np.arange(8) < C
    if form == "Add":
        y = g.apply("Add", z, np.where(is_active, 0, fill))
    else:
        y = g.apply("Where", is_active, z, np.full(8, fill))
    g.output(Tensor(g.apply("Softmax", Tensor(y.name, z.value), axis=1).name, z.value), "y", ["N", 8])
    active, one = z.value[:, :C], np.ones((ROWS, 1))
    differences = np.diff(z.value[:, C:], axis=1)
    truths = [z.value, active, np.hstack([active, one]), np.hstack([active, one, differences])]
    result = assert_right(g, *((h.value, truth) for truth in truths), certain=False)
    if isinstance(result, Analysis):
        assert_finite(result)


# Parameters


def assert_norm(g: Graph, *weights: Array) -> None:
    """‖θ‖² is that of the weights alone, and every number is finite."""
    analysis = onnxrich.run(g.model(), g.data, device="cpu")
    assert_finite(analysis)
    expected = sum(float((weight**2).sum()) for weight in weights)
    assert analysis.metrics["parameter_norm"] == pytest.approx(expected, rel=1e-5)


def weighted(g: Graph) -> tuple[Tensor, list[Array]]:
    """A hidden layer before its activation, and its weights."""
    weight, bias = g.weight(10, P), g.weight(P)
    x = g.input("x", g.rows(ROWS, 10), ["N", 10])
    return g.apply("Gemm", x, weight, bias), [weight, bias]


def headed(g: Graph, h: Tensor) -> list[Array]:
    """The head's weights, behind which is the output."""
    weight, bias = g.weight(P, C), g.weight(C)
    g.output(g.apply("Gemm", h, weight, bias), "y")
    return [weight, bias]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("node", [True, False])
def test_fills_are_no_parameters(fill: float, node: bool) -> None:
    """The number that replaces what a mask hides is no weight."""
    g = Graph(32)
    z, body = weighted(g)
    legal = g.input("legal", g.rng.random((ROWS, P)) < 0.9, ["N", P])
    shown = g.apply("Where", legal, z, g.constant(np.float32(fill), node=node))
    assert_norm(g, *body, *headed(g, g.apply("Relu", shown)))


def lower_bound(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Max", z, np.float32(-np.inf))


def clipped(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Clip", z, np.float32(FLOAT_MIN), np.float32(np.finfo(np.float32).max))


def shifted_by_a_table(g: Graph, z: Tensor) -> Tensor:
    """A table of 0 and float min, as causal masks are: the zeros are used, the rest is not."""
    table = np.triu(np.full((P, P), FLOAT_MIN), 1)
    return g.apply("Add", z, g.apply("Gather", g.constant(table), np.array(P - 1), axis=0))


def shifted_by_infinite_table(g: Graph, z: Tensor) -> Tensor:
    table = np.triu(np.full((P, P), -np.inf), 1)
    return g.apply("Add", z, g.apply("Gather", g.constant(table), np.array(P - 1), axis=0))


def masked_by_a_table(g: Graph, z: Tensor) -> Tensor:
    """A lower triangle of ones, and a fill."""
    triangle = g.apply("Gather", g.constant(np.tril(np.ones((P, P)))), np.array(P - 2), axis=0)
    hidden_ones = g.apply("Equal", triangle, np.float32(0))
    return g.apply("Where", hidden_ones, np.float32(-np.inf), z)


@pytest.mark.parametrize(
    "masking", [lower_bound, clipped, shifted_by_a_table, shifted_by_infinite_table, masked_by_a_table]
)
def test_masks_are_no_parameters(masking: Callable[[Graph, Tensor], Tensor]) -> None:
    """Constants that mask or bound are no weights."""
    g = Graph(33)
    z, body = weighted(g)
    assert_norm(g, *body, *headed(g, g.apply("Relu", masking(g, z))))


def test_ranges_are_no_parameters() -> None:
    """Places from 0 are no weights."""
    g = Graph(33)
    z, body = weighted(g)
    is_early = g.apply("Greater", np.float32(P - 3), np.arange(P, dtype=float))
    shown = g.apply("Where", is_early, z, np.float32(0))
    assert_norm(g, *body, *headed(g, g.apply("Relu", shown)))


def test_softmax_above_infinity() -> None:
    """−∞ as the operand of a maximum behind the head leaves every number finite, in JSON and in files."""
    g = Graph(34)
    z, body = weighted(g)
    h = g.apply("Relu", z)
    weight = g.weight(P, C)
    f = g.apply("MatMul", h, weight)
    top = g.apply("Max", g.reduce("ReduceMax", f, 1), np.float32(-np.inf))
    e = g.apply("Exp", g.apply("Sub", f, top))
    g.output(g.apply("Div", e, g.reduce("ReduceSum", e, 1)), "p")
    assert_right(g, (h.value, f.value))
    assert_norm(g, *body, weight)


def causal(g: Graph, fill: float, masked: str) -> Tensor:
    """One layer of attention whose causal mask is a constant."""
    ids = g.input("input_ids", g.rng.integers(0, 30, (60, 6)), ["N", 6])
    x = g.apply("Gather", g.weight(30, 8, scale=5), ids)
    query, key, value = (g.apply("MatMul", x, g.weight(8, 8)) for _ in range(3))
    scores = g.apply("MatMul", query, g.apply("Transpose", key, perm=[0, 2, 1]))
    later = np.triu(np.ones((9, 9), bool), 1)
    cut = np.array([0, 0]), np.array([6, 6]), np.array([0, 1])
    if masked == "Add":
        scores = g.apply("Add", scores, g.apply("Slice", g.constant(np.where(later, fill, 0.0)), *cut))
    else:
        scores = g.apply("Where", g.apply("Slice", g.constant(later), *cut), np.float32(fill), scores)
    return g.apply("Add", x, g.apply("MatMul", g.apply("Softmax", scores, axis=-1), value))


@pytest.mark.parametrize("masked", ["Add", "Where"])
@pytest.mark.parametrize("fill", [-1e9, FLOAT_MIN, -np.inf])
def test_causal_masks(masked: str, fill: float, tmp_path: Path) -> None:
    """A language model with a causal mask as a constant is measured, written and compared with finite numbers."""
    g = Graph(35)
    h = g.hidden(causal(g, fill, masked), P)
    y = g.apply("MatMul", h, g.weight(P, 30))
    g.output(y, "logits", ["N", 6, 30])
    truth = (h.value.reshape(-1, P), y.value.reshape(-1, 30))
    result = assert_right(g, truth)
    assert isinstance(result, Analysis)
    assert_finite(result)
    result.save(tmp_path / "report")
    assert "Infinity" not in (tmp_path / "report" / "analysis.json").read_text()
    norm = result.metrics["parameter_norm"]
    assert norm is not None
    assert norm < 1e4, "the mask is no parameter"
    compared = onnxrich.compare([g.model(), g.model()], g.data, device="cpu")
    json.loads(compared.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))


# Digests


def with_external_weights(folder: Path, change: float = 0.0) -> Path:
    """A model whose weights lie in a file beside it, one of them changed."""
    folder.mkdir()
    g, h = hidden()
    g.output(layer(g, h), "y")
    proto = g.model()
    largest = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values.flat[7] += change
    largest.raw_data = values.tobytes()
    external_data_helper.convert_model_to_external_data(proto, location="model.data", size_threshold=0)
    onnx.save(proto, folder / "model.onnx")
    return folder / "model.onnx"


def test_digest_of_external_weights(tmp_path: Path) -> None:
    """One changed number in a file of weights changes the digest of the model; a copy doesn't."""
    data = hidden()[0].data
    paths = [with_external_weights(tmp_path / name, change) for name, change in (("a", 0.0), ("b", 0.0), ("c", 1.0))]
    digests = [onnxrich.run(path, data, device="cpu").to_dict()["model"]["sha256"] for path in paths]
    assert digests[0] == digests[1] != digests[2]


# Damaged files


def plain_model() -> tuple[Graph, onnx.ModelProto]:
    """Two layers, and their model."""
    g, h = hidden()
    g.output(layer(g, h), "y")
    return g, g.model()


def assert_clean(proto: onnx.ModelProto, data: Any, labels: Any = None) -> None:
    """A model is measured in finite numbers or refused; so is what `inspect` says."""
    try:
        assert_finite(onnxrich.run(proto, data, labels, device="cpu"))
    except OnnxrichError as error:
        assert len(str(error)) < 300, str(error)
    try:
        said = onnxrich.inspect(proto).to_dict()
    except OnnxrichError as error:
        assert len(str(error)) < 300, str(error)
    else:
        json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, FLOAT_MIN])
def test_initializers_that_nothing_reads(value: float) -> None:
    """A number that no operator reads changes nothing."""
    g, proto = plain_model()
    expected = onnxrich.run(proto, g.data, device="cpu")
    proto.graph.initializer.append(numpy_helper.from_array(np.float32([value]), "unused"))
    analysis = onnxrich.run(proto, g.data, device="cpu")
    assert_finite(analysis)
    assert analysis.metrics["d_lr"] == pytest.approx(expected.metrics["d_lr"], abs=TOLERANCE)
    assert analysis.metrics["parameter_norm"] == pytest.approx(expected.metrics["parameter_norm"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", range(4))
def test_weights_that_are_not_finite(value: float, which: int) -> None:
    """A damaged weight, in the head or before it, is refused and inspected in finite numbers."""
    g, proto = plain_model()
    tensor = proto.graph.initializer[which]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[-1] = value
    tensor.raw_data = values.tobytes()
    assert_clean(proto, g.data)


def flattened_weight(proto: onnx.ModelProto) -> None:
    """The head's weight loses an axis."""
    tensor = next(each for each in proto.graph.initializer if list(each.dims) == [P, C])
    tensor.dims[:] = [P * C]


def huge_alpha(proto: onnx.ModelProto) -> None:
    """A factor near the end of float32."""
    node = next(each for each in proto.graph.node if each.op_type == "Gemm")
    node.attribute.append(helper.make_attribute("alpha", -1e30))


def both(proto: onnx.ModelProto) -> None:
    flattened_weight(proto)
    huge_alpha(proto)


def no_inputs(proto: onnx.ModelProto) -> None:
    """An operator loses its inputs."""
    del proto.graph.node[1].input[:]


def no_inputs_at_all(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        del node.input[:]


def no_outputs(proto: onnx.ModelProto) -> None:
    del proto.graph.node[-2].output[:]


def gather_of_shape(proto: onnx.ModelProto) -> None:
    """A Gather along an axis that there is not, without its second input."""
    proto.graph.node.insert(0, helper.make_node("Shape", ["x"], ["s"]))
    proto.graph.node.insert(1, helper.make_node("Gather", ["s"], ["g"], axis=65535))
    proto.graph.node.insert(2, helper.make_node("Gather", [], ["u"], axis=0))


def short_weight(proto: onnx.ModelProto) -> None:
    """Fewer bytes than the shape says."""
    tensor = proto.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-5]


def negative_size(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[0] = -3


def enormous_size(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[0] = 2**40


def wrong_attribute(proto: onnx.ModelProto) -> None:
    """An attribute of another type."""
    node = next(each for each in proto.graph.node if each.op_type == "Gemm")
    node.attribute.append(helper.make_attribute("transB", "yes"))


def renamed_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[-2].op_type = "Gem"


def no_outputs_of_model(proto: onnx.ModelProto) -> None:
    del proto.graph.output[:]


def cyclic(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.node[-1].output[0]


DAMAGES = [
    flattened_weight, huge_alpha, both, no_inputs, no_inputs_at_all, no_outputs, gather_of_shape, short_weight,
    negative_size, enormous_size, wrong_attribute, renamed_operator, no_outputs_of_model, cyclic,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_models(damage: Callable[[onnx.ModelProto], None]) -> None:
    """A damaged model is refused in one line, or measured in finite numbers."""
    g, proto = plain_model()
    damage(proto)
    assert_clean(proto, g.data)


@pytest.mark.parametrize("label", [4097, 2**15, 2**31, 2**40, -(2**40), -2])
def test_one_damaged_label(label: int) -> None:
    """One label with a wrong bit costs seconds at most, and is refused or told."""
    g, proto = plain_model()
    labels = g.rng.integers(0, C, ROWS)
    labels[17] = label
    with within(60):
        try:
            analysis = onnxrich.run(proto, g.data, labels, device="cpu")
        except OnnxrichError as error:
            assert len(str(error)) < 300
        else:
            assert_finite(analysis)
            assert any("class" in notice.message for notice in analysis.notices)


def header(shape: str, dtype: str = "<f4") -> bytes:
    """A .npy file that says a shape, with some bytes of data."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * ((-len(text) - 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


HEADERS = {
    "65 axes": header("(" + "1," * 65 + ")"),
    "200 axes": header("(" + "1," * 200 + ")"),
    "negative": header("(-4, 10)"),
    "more than there is": header("(1000000, 10)"),
    "beyond memory": header("(1000000000000, 1000000)"),
    "words": header("('a', 10)"),
    "unknown type": header("(4, 10)", "<q9"),
    "objects": header("(4, 10)", "|O"),
    "no header": b"\x93NUMPY\x01\x00",
    "another file": b"PK\x03\x04 and more",
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("inside", [True, False])
def test_damaged_arrays(name: str, inside: bool, tmp_path: Path) -> None:
    """A damaged file of numbers is refused, alone and in an archive."""
    _, proto = plain_model()
    path = tmp_path / "data.npy"
    path.write_bytes(HEADERS[name])
    if inside:
        path = tmp_path / "data.npz"
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w") as archive:
            archive.writestr("x.npy", HEADERS[name])
        path.write_bytes(memory.getvalue())
    with pytest.raises(OnnxrichError) as caught, within(60):
        onnxrich.run(proto, path, device="cpu")
    assert len(str(caught.value)) < 300


def test_type_of_the_fill() -> None:
    """Half precision has a fill of its own."""
    g = Graph(36)
    z, body = weighted(g)
    half = g.apply("Cast", g.constant(np.float16(-65504)), to=TensorProto.FLOAT)
    legal = g.input("legal", g.rng.random((ROWS, P)) < 0.9, ["N", P])
    assert_norm(g, *body, *headed(g, g.apply("Relu", g.apply("Where", legal, z, half))))
