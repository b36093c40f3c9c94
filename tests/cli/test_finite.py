"""No document holds NaN or infinity, and hostile files are told what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli._processes import onnxrich as command
from onnx import numpy_helper
from zoo_text import build, refused, two_layers

import onnxrich

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 6)).astype(np.float32)
W1, W2 = RNG.standard_normal((6, 8)).astype(np.float32), RNG.standard_normal((8, 3)).astype(np.float32)


def refuse(text: str) -> Any:
    raise AssertionError(f"{text} in JSON")


def strict(text: str) -> Any:
    """JSON without NaN, Infinity and -Infinity."""
    return json.loads(text, parse_constant=refuse)


def with_unused(value: float) -> onnx.ModelProto:
    proto = build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=W1, w2=W2)
    proto.graph.initializer.append(numpy_helper.from_array(np.full(3, value, np.float32), "unused"))
    return proto


def with_operand(value: float) -> onnx.ModelProto:
    return build("a = MatMul(x, w1) h = Max(a, fill) y = MatMul(h, w2)", w1=W1, w2=W2, fill=np.float32(value))


def with_masked_class(value: float) -> onnx.ModelProto:
    mask = np.array([0, 0, value], np.float32)
    return build("a = MatMul(x, w1) h = Relu(a) m = MatMul(h, w2) y = Add(m, mask)", w1=W1, w2=W2, mask=mask)


NORM = float(np.sum(np.square(W1, dtype=np.float64)) + np.sum(np.square(W2, dtype=np.float64)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, float(np.finfo(np.float32).min), -65504.0, -1e9])
@pytest.mark.parametrize("make", [with_unused, with_operand, with_masked_class])
def test_results_are_finite(make: Any, value: float) -> None:
    """A result is strict JSON and its norm that of the weights, or the model is refused, whatever its constants."""
    try:
        analysis = onnxrich.run(make(value), X)
    except onnxrich.ModelError as error:  # outputs of NaN or +∞
        assert f"holds {'NaN' if np.isnan(value) else 'infinity'} in 1 of" in str(error)
        assert not value < 0
        return
    assert strict(json.dumps(analysis.to_dict()))["metrics"]["parameter_norm"] == pytest.approx(NORM, rel=1e-12)


@pytest.mark.parametrize(("make", "value"), [(with_unused, np.nan), (with_operand, -np.inf)])
def test_documents_are_finite(tmp_path: Path, make: Any, value: float) -> None:
    """`run --json` and `-o` give strict JSON where a model holds constants that are no numbers."""
    path, data = tmp_path / "model.onnx", tmp_path / "data.npy"
    onnx.save(make(value), path)
    np.save(data, X)
    result = command("run", str(path), "--data", str(data), "--json", "-o", str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert strict(result.stdout)["metrics"]["parameter_norm"] == pytest.approx(NORM, rel=1e-12)
    strict((tmp_path / "out" / "analysis.json").read_text())


def test_inspection_is_finite(tmp_path: Path) -> None:
    """`inspect --json` of a head whose outputs are NaN says so, without NaN."""
    broken = W2.copy()
    broken[0] = np.nan
    path = tmp_path / "model.onnx"
    onnx.save(build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=W1, w2=broken), path)
    result = command("inspect", str(path), "--json")
    (candidate,) = strict(result.stdout)["candidates"]
    assert candidate["residual"] is None
    assert candidate["reason"].startswith("not verified: its outputs are no finite numbers")
    assert candidate["reason"].endswith("; the initializer 'w2' holds NaN in 3 of 24 values")


def poked(values: np.ndarray, value: float) -> np.ndarray:
    """A copy whose first two numbers are others."""
    copy = values.copy()
    copy.flat[:2] = value
    return copy


def with_constant_node(value: float) -> onnx.ModelProto:
    proto = build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=W1)
    del proto.graph.initializer[1]
    tensor = numpy_helper.from_array(poked(W2, value), "w2")
    proto.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w2"], value=tensor))
    return proto


def with_sparse(value: float) -> onnx.ModelProto:
    proto = build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=W1)
    del proto.graph.initializer[1]
    values = numpy_helper.from_array(poked(W2, value).ravel()[:20], "w2")
    places = numpy_helper.from_array(np.arange(20), "places")
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [8, 3]))
    return proto


def with_attribute(value: float) -> onnx.ModelProto:
    proto = build("a = MatMul(x, w1) h = LeakyRelu(a) y = MatMul(h, w2)", w1=W1, w2=W2)
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("alpha", value))
    return proto


QUANTIZED = RNG.integers(-9, 9, (8, 3)).astype(np.int8)
BROKEN = {
    "the initializer 'w1' holds {} in 2 of 48 values":
        lambda v: build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=poked(W1, v), w2=W2),
    "the initializer 'b' holds {} in 2 of 8 values":
        lambda v: build("a = MatMul(x, w1) s = Add(a, b) h = Relu(s) y = MatMul(h, w2)", w1=W1, w2=W2,
                        b=poked(np.ones(8, np.float32), v)),
    "the initializer 's' holds {} in 1 of 1 values":
        lambda v: build("a = MatMul(x, w1) h = Relu(a) d = DequantizeLinear(q, s, z) y = MatMul(h, d)", w1=W1,
                        q=QUANTIZED, s=np.float32(v), z=np.int8(0)),
    "the constant 'w2' holds {} in 2 of 24 values": with_constant_node,
    "the initializer 'w2' holds {} in 2 of 24 values": with_sparse,
    "the attribute 'alpha' of the LeakyRelu that gives 'h' holds {} in 1 of 1 values": with_attribute,
}  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("said", BROKEN)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_are_no_numbers(said: str, value: float) -> None:
    """A model with NaN or infinity in its weights is refused: what holds them is named, and not the data's scale."""
    with pytest.raises(onnxrich.ModelError) as caught:
        onnxrich.run(BROKEN[said](value), X)
    assert said.format("NaN" if np.isnan(value) else "infinity") in str(caught.value)
    assert "scale" not in str(caught.value)
    json.dumps(onnxrich.inspect(BROKEN[said](value)).to_dict(), allow_nan=False)


def test_overflow_of_the_model_alone() -> None:
    """Where all weights are finite, the scale is what overflows."""
    with refused(onnxrich.DataError, "though the inputs and the weights are finite"):
        onnxrich.run(build("a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)", w1=W1 * np.float32(1e38), w2=W2), X)


@pytest.mark.parametrize("factor", [1e-200, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize("part", ["features", "outputs"])
def test_sizes_beyond_double_precision(part: str, factor: float) -> None:
    """Features and outputs whose products overflow or vanish are refused; those of single precision are not."""
    first, last = (factor, 1.0) if part == "features" else (1.0, factor)
    body = "a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2)"

    def model(first: float, last: float) -> onnx.ModelProto:
        weights = {"w1": W1.astype(float) * first, "w2": W2.astype(float) * last}
        return build(body, x="double[N,6] x", y="double[N,3] y", **weights)

    with refused(onnxrich.DataError, f"the {part} are of the size of"):
        onnxrich.run(model(first, last), X.astype(float))
    small = [onnxrich.run(model(scale, 1.0), X.astype(float)) for scale in (1e-44, 1.0, 1e37)]
    assert [result.metrics["d_lr"] for result in small] == pytest.approx([small[1].metrics["d_lr"]] * 3, rel=1e-6)


def test_operators_that_lack_inputs() -> None:
    """An operator with fewer inputs than ONNX prescribes is named by every command."""
    proto = two_layers()
    proto.graph.node.append(onnx.helper.make_node("Gather", [], ["z"], name="look up"))
    with refused(
        onnxrich.ModelError, "<ModelProto> contains the operator Gather 'look up' with 0 inputs; needed: at l"
    ):
        onnxrich.inspect(proto)


def test_weight_that_is_no_matrix() -> None:
    """A Gemm with a weight of one axis is malformed."""
    proto = build("a = MatMul(x, w1) h = Relu(a) y = Gemm(h, flat)", w1=W1, flat=W2[:, 0])
    with pytest.raises(onnxrich.ModelError):
        onnxrich.inspect(proto)


def test_array_of_too_many_axes(tmp_path: Path) -> None:
    """A header that claims more axes than an array can have is a DataError."""
    header = str({"descr": "<f4", "fortran_order": False, "shape": (1,) * 65}).encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    path = tmp_path / "data.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4))
    with refused(onnxrich.DataError, "data.npy has 65 axes; needed: at most 32"):
        onnxrich.run(two_layers(), path)


def test_label_far_beyond_rows_and_outputs() -> None:
    """A single wrong label is an error that names it, and makes no thousand classes."""
    labels = RNG.integers(0, 3, 60)
    labels[17] = 4097
    with refused(onnxrich.DataError, "the largest label is 4097, the model has 3 outputs, and there are 60 rows"):
        onnxrich.run(two_layers(), X, labels)
    labels[17] = 200  # few enough to be counted
    assert onnxrich.run(two_layers(), X, labels).metrics["d_lr"] is not None
