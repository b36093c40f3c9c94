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
    except onnxrich.DataError as error:  # outputs of NaN or +∞
        assert "NaN or infinity" in str(error)
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
