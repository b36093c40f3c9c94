"""The three curves equal those of the n × n kernel, rise to at most one, and stop where nothing is defined."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import compute_curves, compute_curves_on, orthonormalize
from onnxrich.moments.matrix import Moments

# Eigenvectors of a kernel with gaps of some per cent, in double.
EXACT = 1e-9


def sample(n: int = 200, p: int = 10, C: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features with well separated variances, outputs that they don't explain whole, and classes."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, p)) * 1.6 ** -np.arange(p) + 0.2
    outputs = np.tanh(features @ rng.standard_normal((p, C)) + 0.3)
    return features, outputs, rng.integers(0, C, n)


def test_equal_the_oracle() -> None:
    """Utilization, quality and intensity are those of eigenvectors of the n × n kernel."""
    features, outputs, labels = sample()
    got = compute_curves(Sample(Moments.from_rows(features, outputs, labels)))
    of_outputs = oracle.curves(features, outputs)
    of_targets = oracle.curves(features, np.eye(3)[labels])
    np.testing.assert_allclose(got.intensity, of_outputs["intensity"], atol=EXACT)
    np.testing.assert_allclose(got.utilization, of_outputs["span"], atol=EXACT)
    np.testing.assert_allclose(got.utilization_variance, of_outputs["variance"], atol=EXACT)
    assert got.quality is not None
    assert got.quality_variance is not None
    np.testing.assert_allclose(got.quality, of_targets["span"], atol=EXACT)
    np.testing.assert_allclose(got.quality_variance, of_targets["variance"], atol=EXACT)


def test_tie_to_the_scalar() -> None:
    """Σ ρ_k ‖P e_k‖² is tr(KP)/n, the uncentred numerator of D_LR."""
    features, outputs, _ = sample()
    got = compute_curves(Sample(Moments.from_rows(features, outputs)))
    share = got.individual("utilization")
    assert share is not None
    rho = got.intensity * oracle.curves(features, outputs)["rho"][0]
    P, rank = oracle.projector(outputs, 1e-6)
    expected = np.trace(features @ features.T @ P) / len(features)
    assert np.sum(rho * share * rank) == pytest.approx(expected, rel=EXACT)


def test_monotone_and_at_most_one() -> None:
    """Cumulative curves never fall and end at one at the latest; individual values add up to them."""
    features, outputs, labels = sample()
    got = compute_curves(Sample(Moments.from_rows(features, outputs, labels)))
    assert got.stops_at is None
    for name in ("utilization", "quality", "utilization_variance", "quality_variance"):
        curve, single = getattr(got, name), got.individual(name)
        assert (np.diff(curve) >= 0).all()
        assert 0 < curve[-1] <= 1 + 1e-12
        np.testing.assert_allclose(np.cumsum(single), curve, atol=1e-14)
    assert got.k.tolist() == list(range(1, 11))
    assert got.intensity[0] == 1


def test_linear_outputs_are_used_up() -> None:
    """Outputs that are linear in the features, without bias, have a utilization of one at k = p."""
    features, _, _ = sample()
    got = compute_curves(Sample(Moments.from_rows(features, features[:, 2:5] @ np.diag([1, 2, 3]))))
    assert got.utilization[-1] == pytest.approx(1, abs=1e-12)


def test_stop_at_rounding_level() -> None:
    """Features of rank 4 have four eigenfunctions: the curves end there, and say so."""
    outputs = sample()[1]
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 10))
    got = compute_curves(Sample(Moments.from_rows(flat, outputs)))
    assert len(got.k) == len(got.utilization) == 4
    assert got.stops_at == 4


def test_no_labels_no_quality() -> None:
    """Without labels quality is None, not zero."""
    got = compute_curves(Sample(Moments.from_rows(*sample()[:2])))
    assert got.quality is None
    assert got.quality_variance is None
    assert got.individual("quality") is None


def on_other_rows(seed: int, n: int, p: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Two samples of one model, the second with a mean of its own."""
    rng = np.random.default_rng(seed)
    reading = rng.standard_normal((p, 3))

    def draw(rows: int, mean: float) -> tuple[np.ndarray, ...]:
        features = rng.standard_normal((rows, p)) / np.arange(1, p + 1) + mean
        return features, np.tanh(features @ reading + 0.3), rng.integers(0, 3, rows)

    return draw(300, 0.2), draw(n, 0.4)


@pytest.mark.parametrize(("n", "p"), [(200, 10), (400, 150), (70, 40)])
def test_on_other_rows_equal_gram_schmidt(n: int, p: int) -> None:
    """Eigenfunctions of one sample, on the rows of another, made orthonormal there by a QR decomposition."""
    first, second = on_other_rows(0, n, p)
    got = compute_curves_on(Sample(Moments.from_rows(*first)), Sample(Moments.from_rows(*second)))
    assert got.stops_at is None
    rho, vectors = np.linalg.eigh(first[0].T @ first[0] / 300)
    projections = second[0] @ vectors[:, ::-1]
    q = np.linalg.qr(projections / np.sqrt(rho[::-1]))[0]
    for name, functions in (("utilization", second[1]), ("quality", np.eye(3)[second[2]])):
        P, rank = oracle.projector(functions, 1e-6)
        span = np.cumsum(np.sum((P @ q) ** 2, axis=0)) / rank
        energy = np.cumsum(np.mean((q.T @ functions) ** 2 / np.sum(functions**2, axis=0), axis=1))
        # The last direction has 150⁻² of the variance of the first, and 1e-16·2e4 of rounding.
        np.testing.assert_allclose(getattr(got, name), span, atol=1e-9)
        np.testing.assert_allclose(getattr(got, f"{name}_variance"), energy, atol=1e-9)
    size = np.mean(projections**2, axis=0)
    np.testing.assert_allclose(got.intensity, size / size[0], rtol=1e-6)


def test_on_the_same_rows_are_the_curves() -> None:
    """Fitted and evaluated on the same rows, the curves are those of that sample."""
    one = Sample(Moments.from_rows(*sample()))
    got, expected = compute_curves_on(one, one), compute_curves(one)
    for name in ("utilization", "quality", "utilization_variance", "quality_variance", "intensity"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=EXACT)


def test_on_fewer_rows_than_features_stop() -> None:
    """On 25 rows no more than 25 functions are independent: the curves end there, at one, and say so."""
    first, second = on_other_rows(1, 25, 60)
    got = compute_curves_on(Sample(Moments.from_rows(*first)), Sample(Moments.from_rows(*second)))
    assert 24 <= len(got.k) <= 25
    assert got.stops_at == len(got.k)
    assert got.utilization[-1] <= 1 + 1e-6
    assert (np.diff(got.utilization) >= 0).all()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_orthonormalize_is_a_triangular_solve(size: int) -> None:
    """The products with orthonormalized functions are those of the plain Cholesky factor."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((400, size)), rng.standard_normal((400, 2))
    expected = np.linalg.solve(np.linalg.cholesky(a.T @ a), a.T @ b)
    got = orthonormalize(a.T @ a, a.T @ b, np.full(size, 1e-9))
    np.testing.assert_allclose(got, expected, atol=1e-10)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3])
@pytest.mark.parametrize("place", [0, 1, 5, 99])
def test_orthonormalize_stops_at_noise(place: int, noise: float) -> None:
    """Rows end before the first function that adds no more than noise, whether or not its pivot is positive."""
    rng = np.random.default_rng(place)
    a, b = rng.standard_normal((400, 100)), rng.standard_normal((400, 2))
    a[:, place] = a[:, :place] @ rng.standard_normal(place)
    gram = a.T @ a
    # Rounding leaves the pivot either side of 0. Shifted by half the noise, or below 0, it is on a known one.
    gram[place, place] += noise / 2 if noise else -1e-6
    expected = np.linalg.solve(np.linalg.cholesky(gram[:place, :place]), (a.T @ b)[:place])
    got = orthonormalize(gram, a.T @ b, np.full(100, noise))
    assert got.shape == (place, 2)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_orthonormalize_nothing() -> None:
    """Without functions there are no rows."""
    assert orthonormalize(np.empty((0, 0)), np.empty((0, 3)), np.empty(0)).shape == (0, 3)


@pytest.mark.parametrize("bias", [3e2, -1e9, float(np.finfo(np.float32).min)])
def test_units_and_constants_of_outputs(bias: float) -> None:
    """Outputs in other units have the same curves; a constant output counts as the constant function, at any size."""
    features, outputs, _ = sample()
    scaled = np.column_stack([outputs * [1e-5, 1.0, 1e7], np.full(len(outputs), bias)])
    got = compute_curves(Sample(Moments.from_rows(features, scaled)))
    expected = oracle.curves(features, np.column_stack([outputs, np.ones(len(outputs))]))
    np.testing.assert_allclose(got.utilization, expected["span"], atol=EXACT)
    np.testing.assert_allclose(got.utilization_variance, expected["variance"], atol=EXACT)
