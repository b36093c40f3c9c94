"""The weight and bias of a head are read from every form of a linear layer."""

from __future__ import annotations

import numpy as np
import pytest
from model._heads import B1, B2, B3, FLOAT32, HIDDEN, W1, W2, W2T, build, relu, rows_of

from onnxrich.model.head.head import affine_residual, allowed_residual, find_head

# The graph behind the hidden layer r, the tensor of the outputs, and what NumPy computes for them.
STYLES = {
    "gemm": ("y = Gemm(r, w2, b2)", "y", lambda r: r @ W2 + B2),
    "gemm transB alpha beta": (
        "y = Gemm<transB=1, alpha=2.0, beta=0.5>(r, w2t, b2)",
        "y",
        lambda r: 2 * (r @ W2T.T) + B2 / 2,
    ),
    "gemm without bias": ("y = Gemm(r, w2)", "y", lambda r: r @ W2),
    "gemm scalar bias": ("y = Gemm(r, w2, b1)", "y", lambda r: r @ W2 + B1),
    "matmul": ("y = MatMul(r, w2)", "y", lambda r: r @ W2),
    "matmul add": ("m = MatMul(r, w2)\n y = Add(m, b2)", "y", lambda r: r @ W2 + B2),
    "add matmul": ("m = MatMul(r, w2)\n y = Add(b2, m)", "y", lambda r: r @ W2 + B2),
    "matmul sub": ("m = MatMul(r, w2)\n y = Sub(b2, m)", "y", lambda r: B2 - r @ W2),
    "temperature": ("m = Gemm(r, w2, b2)\n y = Div(m, t)", "m", lambda r: r @ W2 + B2),
    "scale of each output": ("m = Gemm(r, w2, b2)\n y = Mul(m, b3)", "y", lambda r: (r @ W2 + B2) * B3),
    "softmax": ("f = Gemm(r, w2, b2)\n y = Softmax<axis=1>(f)", "f", lambda r: r @ W2 + B2),
    "scaled softmax": ("f = Gemm(r, w2, b2)\n s = Mul(t, f)\n y = LogSoftmax<axis=1>(s)", "f", lambda r: r @ W2 + B2),
    "decomposed softmax": (
        "f = Gemm(r, w2, b2)\n m = ReduceMax<axes=[1]>(f)\n s = Sub(f, m)\n e = Exp(s)\n"
        " z = ReduceSum(e, axis_1)\n y = Div(e, z)\n",
        "f",
        lambda r: r @ W2 + B2,
    ),
    "transposed weight": ("w = Transpose(w2t)\n y = MatMul(r, w)", "y", lambda r: r @ W2T.T),
    "cast weight": ("w = Cast<to=1>(w2)\n i = Identity(w)\n y = MatMul(r, i)", "y", lambda r: r @ W2),
    "dropout and reshape": (
        "d = Dropout(r)\n f = Gemm(d, w2, b2)\n i = Identity(f)\n s = Reshape(i, rows_3)\n y = Sigmoid(s)",
        "f",
        lambda r: r @ W2 + B2,
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    """Features are the hidden layer, outputs are what NumPy computes, and W φ + b explains them."""
    body, outputs, expected = STYLES[style]
    model = build(HIDDEN + body)
    head = find_head(model)
    assert head.outputs.tensor == outputs
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    features, f = rows_of(model, head, x)
    hidden = relu(x.astype(float) @ W1)
    np.testing.assert_allclose(features, hidden, atol=FLOAT32)
    np.testing.assert_allclose(f, expected(hidden), atol=10 * FLOAT32)
    distance = affine_residual(head, features, f)
    assert distance is not None
    assert distance < allowed_residual(head) < 1e-3
