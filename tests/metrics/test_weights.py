"""Norms and distances that need the weights."""

from __future__ import annotations

import numpy as np
import pytest
from samples import class_rows

from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments


def test_weights_are_given() -> None:
    """Norms need the weights; NC3 needs a head with one row a class."""
    features, weight, outputs, labels = class_rows(6)
    moments = Moments.from_rows(features, outputs, labels)
    got, _ = measure(moments, metrics=["weights", "nc3"], weight=weight, parameter_norm=7.0)
    assert (got["head_norm"], got["parameter_norm"]) == (pytest.approx(np.linalg.norm(weight)), 7.0)
    assert got["nc3"] is not None
    without, _ = measure(moments, metrics=["weights", "nc3"])
    assert without["head_norm"] is without["parameter_norm"] is without["nc3"] is None
    assert measure(moments, metrics=["nc3"], weight=weight[:3])[0]["nc3"] is None
