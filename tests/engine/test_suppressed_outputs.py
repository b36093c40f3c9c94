"""Outputs that are −∞ for every row are left out and named; the others are measured as ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import oracle
import pytest
from onnx import numpy_helper, parser

import onnxrich

RNG = np.random.default_rng(0)


def classifier(p: int, C: int, bias: float, unused: int, *, ending: str) -> onnx.ModelProto:
    """A ReLU layer and a linear head of random weights, whose last outputs have no weights and one bias."""
    proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> net (float[N, 10] x) => (float[N, C] y)'
        "<float[1] w1 = {0}, float[1] b1 = {0}, float[1] w = {0}, float[1] b = {0}>"
        f"{{ h = MatMul(x, w1) i = Add(h, b1) phi = Relu(i) {ending} }}"
    )
    weight = np.concatenate([RNG.standard_normal((p, C - unused)), np.zeros((p, unused))], axis=1)
    values = {
        "w1": RNG.standard_normal((10, p)) / 3, "b1": RNG.standard_normal(p), "w": weight,
        "b": np.concatenate([RNG.standard_normal(C - unused), np.full(unused, bias)]),
    }  # fmt: skip
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    return proto


ENDINGS = {
    "one Gemm": "y = Gemm(phi, w, b)",
    "MatMul and Add, then softmax": "f = MatMul(phi, w) g = Add(f, b) y = Softmax(g)",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("p", "C"), [(24, 8), (6, 9)])
@pytest.mark.parametrize("bias", [-np.inf, -1e9])
def test_unused_classes(tmp_path: Path, bias: float, p: int, C: int, ending: str) -> None:
    """−∞ is no number and left out, −1e9 counts as the constant; both give the active outputs' centred richness."""
    proto = classifier(p, C, bias, 3, ending=ENDINGS[ending])
    x = RNG.standard_normal((900, 10)).astype(np.float32)
    w1, b1, w, b = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in proto.graph.initializer)
    features = np.maximum(x @ w1 + b1, 0)
    active = features @ w[:, :-3] + b[:-3]
    analysis = onnxrich.run(proto, x, RNG.integers(0, C - 3, 900))
    spanned = active if bias == -np.inf else np.concatenate([active, np.ones((900, 1))], axis=1)
    # Float32 features and outputs carry 1e-7 of their size.
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, spanned), abs=1e-5)
    assert analysis.metrics["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, active), abs=1e-5)
    assert analysis.metrics["rank_outputs"] == min(spanned.shape[1], p + 1)
    messages = {notice.code: notice.message for notice in analysis.record.notices}
    if bias == -np.inf:
        assert messages["suppressed_outputs"].startswith(
            f"3 of {C} outputs (counted from 0: {C - 3}, {C - 2}, {C - 1})"
        )
    analysis.to_dict()
    assert analysis.record.head.verified
    assert all(value is None or np.isfinite(value) for value in analysis.metrics.values())
    assert all(
        np.isfinite(curve).all() for curve in (analysis.curves.utilization, analysis.curves.utilization_variance)
    )


def test_a_single_infinite_row_is_still_refused() -> None:
    """An output that is −∞ for some rows only makes the sums infinite: that is an error, as before."""
    proto = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> net (float[N, 4] x) => (float[N, 2] y)'
        "<float[4, 3] w1 = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1}, float[3, 2] w = {1, 1, 3e38, 1, 1, 1}>"
        "{ h = MatMul(x, w1) phi = Relu(h) y = MatMul(phi, w) }"
    )
    x = np.abs(RNG.standard_normal((50, 4))).astype(np.float32)
    x[7, 1] = 1e3
    x[:, 3] = 0
    x[:7, 1] = x[8:, 1] = 1e-30
    with pytest.raises(onnxrich.OnnxrichError, match="the outputs hold NaN or infinity"):
        onnxrich.run(proto, x)
