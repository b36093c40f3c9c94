"""Alignment equals its definition on n × n kernels."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from samples import class_rows, real_values

from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments

# Double arithmetic on some hundred rows of size one, with room for conditioning.
EXACT = 1e-9


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_alignment_equals_its_definition(kind: str) -> None:
    """Kernel-target alignment and CKA with the outputs are those of n × n kernels."""
    features, _, outputs, labels = class_rows(1)
    values = real_values(features)
    moments = Moments.from_rows(features, outputs, labels if kind == "classes" else values)
    metrics, _ = measure(moments, metrics=["alignment"])
    targets = np.eye(5)[labels] if kind == "classes" else values
    assert metrics["kernel_target_alignment"] == pytest.approx(oracle.cka(features, targets), abs=EXACT)
    assert metrics["cka_outputs"] == pytest.approx(oracle.cka(features, outputs), abs=EXACT)
