"""The rank-one update: an eigendecomposition to rounding, also where poles coincide and weights vanish."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxrich.metrics.linalg import rank_one_update

CASES = {
    "plain": (lambda rng: rng.gamma(1, size=50), lambda rng: rng.standard_normal(50)),
    "equal poles": (lambda rng: np.ones(50), lambda rng: rng.standard_normal(50)),
    "two poles": (lambda rng: np.repeat([1.0, 0.0], 25), lambda rng: rng.standard_normal(50)),
    "no weight": (lambda rng: rng.gamma(1, size=50), lambda rng: np.zeros(50)),
    "some weights": (lambda rng: rng.gamma(1, size=50), lambda rng: rng.standard_normal(50) * (rng.random(50) < 0.3)),
    "decay": (lambda rng: 1.5 ** -np.arange(50.0), lambda rng: 1e3 * rng.standard_normal(50)),
    "small weights": (lambda rng: rng.gamma(1, size=50), lambda rng: 1e-9 * rng.standard_normal(50)),
    "close poles": (lambda rng: 1 + 1e-15 * rng.standard_normal(50), lambda rng: rng.standard_normal(50)),
    "nothing": (lambda rng: np.zeros(50), lambda rng: np.zeros(50)),
    "one": (lambda rng: np.ones(1), lambda rng: np.ones(1)),
}


def check(values: np.ndarray, z: np.ndarray) -> None:
    """Eigenvalues, residuals and orthogonality to rounding of the matrix's norm."""
    values = np.sort(values)[::-1]
    matrix = np.diag(values) + np.outer(z, z)
    got, vectors = rank_one_update(values, z)
    # Poles are moved apart by 2 eps·scale each, at most 50·2·2.2e-16; rounding adds as much again.
    tolerance = 1e-13 * max(np.linalg.norm(matrix, 2), 1e-300)
    np.testing.assert_allclose(got, np.linalg.eigvalsh(matrix)[::-1], atol=tolerance, rtol=0)
    np.testing.assert_allclose(matrix @ vectors, vectors * got, atol=tolerance, rtol=0)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(z)), atol=1e-13)
    assert (np.diff(got) <= 0).all()


@pytest.mark.parametrize("case", CASES)
def test_is_an_eigendecomposition(case: str) -> None:
    """Values, vectors and orthogonality hold in ordinary and in degenerate cases."""
    rng = np.random.default_rng(0)
    make_values, make_z = CASES[case]
    check(make_values(rng), make_z(rng))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(-12, 6))
def test_of_any_matrix(seed: int, size: int, exponent: float) -> None:
    """Whatever the size, the scale of the weights and the ties among the poles."""
    rng = np.random.default_rng(seed)
    check(np.round(rng.gamma(1, size=size), int(seed % 4)), 10.0**exponent * rng.standard_normal(size))
