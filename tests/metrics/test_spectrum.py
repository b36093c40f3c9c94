"""Spectral metrics equal their definitions."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from samples import class_rows

from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments


@pytest.mark.parametrize("mean", [0.0, 0.4, 50.0])
def test_spectra_equal_their_definitions(mean: float) -> None:
    """RankMe takes the mean for a direction, effective rank does not; entropy and decay are those of the covariance."""
    features = class_rows(3)[0] - 0.4 + mean
    got, _ = measure(Moments.from_rows(features, class_rows(3)[2]), metrics=["spectrum"])
    assert got["rankme"] == pytest.approx(oracle.rankme(features), rel=1e-9)
    assert got["effective_rank"] == pytest.approx(oracle.rankme(features - features.mean(axis=0)), rel=1e-9)
    assert got["alpha_req"] == pytest.approx(oracle.alpha_req(features), rel=1e-9)
    share = np.linalg.eigvalsh(np.cov(features.T))
    share = share / share.sum()
    assert got["spectrum_entropy"] == pytest.approx(-np.sum(share * np.log(share)), rel=1e-9)


def test_alpha_needs_directions() -> None:
    """With fewer than 21 directions there is no power law to fit."""
    features = np.random.default_rng(0).standard_normal((200, 20))
    assert measure(Moments.from_rows(features, features[:, :2]), metrics=["alpha_req"])[0]["alpha_req"] is None
