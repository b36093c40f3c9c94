"""What every framework's parity tests assert: D_LR and the spectrum of its own features, by the oracle."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

import onnxrich

# Float32 sums of up to 1024 terms through up to 32 operators, in another order: √(1024 · 32) · eps / 2 (Higham & Mary
# 2019, theorem 2.4), relative to the largest value.
ROUNDING = 1e-5


def assert_parity(analysis: onnxrich.Analysis, features: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> None:
    """An analysis through ONNX says what the oracle says of the framework's own features and outputs.

    Args:
        analysis: by `onnxrich.run`.
        features: array of shape (n, p).
        outputs: array of shape (n, C), before any softmax.
        labels: classes, array of shape (n,).
    """
    features, outputs = features.astype(np.float64), outputs.astype(np.float64)
    assert (analysis.record.head.p, analysis.record.head.C) == (features.shape[1], outputs.shape[1])
    assert analysis.record.data.n == len(features)
    assert analysis.record.head.verified
    # A relative error δ of the features moves K by 2 δ, so the numerator and the norm of CKA by 2 δ each; one of the
    # outputs turns their span by δ · s₁/s_r, which moves the projector by twice that (Wedin 1972).
    values = np.linalg.svd(outputs, compute_uv=False)
    tolerance = ROUNDING * (4 + 2 * values[0] / values[values > 1e-6 * values[0]][-1])
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=tolerance)
    spectrum = oracle.spectrum(features)
    # The participation ratio is a quotient of fourth powers of singular values.
    assert analysis.metrics["participation_ratio"] == pytest.approx(spectrum["participation_ratio"], rel=8 * ROUNDING)
    # A tie within rounding could tip one row, and random logits have none.
    assert analysis.metrics["accuracy"] == pytest.approx(float((outputs.argmax(1) == labels).mean()), abs=1e-12)
