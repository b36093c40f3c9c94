"""The linear probe equals least squares, also with degenerate features."""

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
def test_probe_equals_least_squares(kind: str) -> None:
    """Probe R² is that of least squares, and adjusted as its formula says."""
    features, _, outputs, labels = class_rows(1)
    values = real_values(features)
    moments = Moments.from_rows(features, outputs, labels if kind == "classes" else values)
    metrics, _ = measure(moments, metrics=["probe"])
    r2 = oracle.r_squared(features, np.eye(5)[labels] if kind == "classes" else values)
    assert metrics["probe_r2"] == pytest.approx(r2, abs=EXACT)
    assert metrics["probe_r2_adjusted"] == pytest.approx(1 - (1 - r2) * 399 / 369, abs=EXACT)


def test_probe_of_dead_and_repeated_features() -> None:
    """Features that are constant, or copies of others, leave the probe as it is without them."""
    features, _, outputs, labels = class_rows(2)
    more = np.column_stack([features, features[:, :4], np.full((len(features), 3), 0.7)])
    expected = measure(Moments.from_rows(features, outputs, labels), metrics=["probe_r2"])[0]["probe_r2"]
    got = measure(Moments.from_rows(more, outputs, labels), metrics=["probe_r2"])[0]["probe_r2"]
    # The ridge of 8 eps·tr C moves a direction of relative variance 1e-3 by 1e-11 of its share.
    assert got == pytest.approx(expected, abs=1e-9)
