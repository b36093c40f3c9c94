"""Neural collapse equals its definitions, is 0 for a simplex, and is null without two classes."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from samples import class_rows

from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments


@pytest.mark.parametrize("seed", range(4))
def test_collapse_equals_its_definitions(seed: int) -> None:
    """NC1 to NC3 with their variants are what loops over classes give, also for classes of uneven size."""
    features, weight, outputs, labels = class_rows(seed)
    got, notices = measure(Moments.from_rows(features, outputs, labels), metrics=["collapse"], weight=weight)
    for name, value in oracle.collapse(features, labels, weight).items():
        assert got[name] == pytest.approx(value, rel=1e-8), name
    assert "imbalanced_classes" in {notice.code for notice in notices}


def test_collapse_of_a_simplex_is_zero() -> None:
    """Classes on the corners of a simplex, and a head whose rows are these, have NC1 = NC2 = NC3 = 0."""
    labels = np.repeat(np.arange(4), 25)
    corners = (np.eye(4) - 1 / 4) @ np.linalg.qr(np.random.default_rng(0).standard_normal((9, 4)))[0].T
    features = 3 * corners[labels] + 0.7
    moments = Moments.from_rows(features, features @ corners.T, labels)
    got, notices = measure(moments, metrics=["collapse"], weight=2 * corners)
    for name in (name for name in got if name.startswith("nc")):
        assert got[name] == pytest.approx(0, abs=1e-7), name
    assert "imbalanced_classes" not in {notice.code for notice in notices}


def test_one_class_has_no_nc1() -> None:
    """With one class, or without labels, NC1 is None; with labels a notice says so."""
    features, _, outputs, _ = class_rows()
    assert measure(Moments.from_rows(features, outputs), metrics=["nc1"])[0]["nc1"] is None
    metrics, notices = measure(Moments.from_rows(features, outputs, np.zeros(400, int)), metrics=["nc1"])
    assert metrics["nc1"] is None
    assert "nc1_undefined" in {notice.code for notice in notices}


def test_absent_classes_don_t_count() -> None:
    """Classes without rows leave NC1 as it is without them."""
    features, _, outputs, labels = class_rows(C=4)
    keep = labels != 2
    metrics, _ = measure(Moments.from_rows(features[keep], outputs[keep], labels[keep]), metrics=["nc1"])
    assert metrics["nc1"] == pytest.approx(oracle.nc1(features[keep], labels[keep]), rel=1e-7)
