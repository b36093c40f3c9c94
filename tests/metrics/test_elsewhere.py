"""Metrics agree with scikit-learn, with the code of the papers, and linear CKA with its definition by HSIC."""

from __future__ import annotations

import numpy as np
import pytest

from onnxrich.metrics.base import Sample
from onnxrich.metrics.readouts import least_squares, nearest_mean
from onnxrich.metrics.registry import measure
from onnxrich.metrics.similarity import FeatureSums, linear_cka
from onnxrich.moments.matrix import Moments

# Both sides solve the same well-conditioned problem in double: rounding of some hundred rows, times the condition.
EXACT = 1e-9


def rows(seed: int = 0, n: int = 500, p: int = 24, K: int = 6) -> tuple[np.ndarray, ...]:
    """Features about class means, outputs, classes of uneven size, and real targets of unlike scales."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(K, n, p=np.arange(1, K + 1) / (K * (K + 1) / 2))
    features = rng.standard_normal((K, p))[labels] + rng.standard_normal((n, p)) * rng.gamma(2.0, size=p) + 0.5
    values = np.tanh(features[:, :3]) * [1.0, 10.0, 0.1] + rng.standard_normal((n, 3)) + [0.0, 100.0, -3.0]
    return features, features @ rng.standard_normal((p, K)), labels, values


@pytest.mark.sklearn
@pytest.mark.parametrize("seed", range(3))
def test_probe_is_scikit_learn_s(seed: int) -> None:
    """Probe R² is r2_score of LinearRegression, targets weighted by their variance; adjusted as its formula says."""
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    features, outputs, labels, values = rows(seed)
    for given, targets in ((labels, np.eye(6)[labels]), (values, values), (values[:, 0], values[:, :1])):
        got, _ = measure(Moments.from_rows(features, outputs, given), metrics=["probe"])
        fitted = LinearRegression().fit(features, targets).predict(features)
        expected = r2_score(targets, fitted, multioutput="variance_weighted")
        assert got["probe_r2"] == pytest.approx(expected, abs=EXACT)
        assert got["probe_r2_adjusted"] == pytest.approx(1 - (1 - expected) * 499 / (499 - 24), abs=EXACT)


@pytest.mark.sklearn
def test_readouts_are_scikit_learn_s() -> None:
    """Nearest class means decide as NearestCentroid does, least squares as LinearRegression on one-hot classes."""
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import NearestCentroid

    features, outputs, labels, _ = rows()
    sample = Sample.from_moments(Moments.from_rows(features, outputs, labels))
    nearest, probe = nearest_mean(sample), least_squares(sample)
    assert nearest is not None and probe is not None
    decided = NearestCentroid().fit(features, labels).predict(features)
    np.testing.assert_array_equal((features @ nearest.weight.T + nearest.bias).argmax(axis=1), decided)
    predicted = LinearRegression().fit(features, np.eye(6)[labels]).predict(features)
    np.testing.assert_allclose(features @ probe.weight.T + probe.bias, predicted, atol=1e-9)


@pytest.mark.sklearn
def test_performance_is_scikit_learn_s() -> None:
    """Accuracy, cross-entropy and mean squared error are accuracy_score, log_loss and mean_squared_error."""
    from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

    features, outputs, labels, values = rows()
    outputs = outputs / 10
    got, _ = measure(Moments.from_rows(features, outputs, labels), metrics=["performance"])
    softmax = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    assert got["accuracy"] == accuracy_score(labels, outputs.argmax(axis=1))
    assert got["cross_entropy"] == pytest.approx(log_loss(labels, softmax), rel=1e-9)
    got, _ = measure(Moments.from_rows(features, outputs[:, :3], values), metrics=["performance"])
    assert got["mean_squared_error"] == pytest.approx(mean_squared_error(values, outputs[:, :3]), rel=1e-9)


@pytest.mark.sklearn
def test_covariance_spectrum_is_scikit_learn_s() -> None:
    """Participation ratio and stable rank follow from the variances of PCA."""
    from sklearn.decomposition import PCA

    features, outputs, _, _ = rows()
    variances = PCA().fit(features).explained_variance_
    got, _ = measure(Moments.from_rows(features, outputs), metrics=["spectrum"])
    assert got["participation_ratio"] == pytest.approx(variances.sum() ** 2 / np.sum(variances**2), rel=1e-9)
    assert got["stable_rank"] == pytest.approx(variances.sum() / variances[0], rel=1e-9)


@pytest.mark.parametrize("n", [30, 500])
def test_cka_is_that_of_hsic(n: int) -> None:
    """Linear CKA, of features and outputs, targets, or two models, is HSIC(K, L)/√(HSIC(K, K)·HSIC(L, L))."""
    features, outputs, labels, _ = rows(n=n)
    other = np.maximum(features @ np.random.default_rng(1).standard_normal((24, 40)) + 3, 0)
    moments, second = Moments.from_rows(features, outputs, labels), Moments.from_rows(other, outputs)
    got, _ = measure(moments, metrics=["alignment"])
    assert got["cka_outputs"] == pytest.approx(by_hsic(features, outputs), abs=EXACT)
    targets = np.eye(moments.K)[labels]
    assert got["kernel_target_alignment"] == pytest.approx(by_hsic(features, targets), abs=EXACT)
    products = (features - moments.shift[1:25]).T @ (other - second.shift[1:41])
    between = linear_cka(FeatureSums.from_moments(moments), FeatureSums.from_moments(second), products)
    assert between == pytest.approx(by_hsic(features, other), abs=EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_collapse_is_that_of_the_papers_code(seed: int) -> None:
    """What the released code of Papyan et al. and of Zhu et al. computes, but for what docs/METRICS.md says of it."""
    features, outputs, labels, _ = rows(seed)
    weight = np.random.default_rng(seed).standard_normal((6, 24))
    moments = Moments.from_rows(features, outputs, labels)
    got = {name: float(value or 0) for name, value in measure(moments, metrics=["collapse"], weight=weight)[0].items()}
    means = np.array([features[labels == c].mean(axis=0) for c in range(6)])
    centred, noise = (means - features.mean(axis=0)).T, features - means[labels]
    # The K − 1 largest of the scatter between classes are inverted, without /K.
    u, s, _ = np.linalg.svd(centred @ centred.T / 6)
    inverse = (u[:, :5] / s[:5]) @ u[:, :5].T
    assert got["nc1_unscaled"] == pytest.approx(np.trace(noise.T @ noise / 500 @ inverse), rel=1e-8)
    # The standard deviation is that of a sample, of K − 1 degrees of freedom.
    norms = np.linalg.norm(centred, axis=0)
    assert got["nc2_equinorm"] * np.sqrt(6 / 5) == pytest.approx(np.std(norms, ddof=1) / norms.mean(), rel=1e-9)
    # Coherence sums both triangles of the cosines, each plus 1/(K − 1), without the diagonal.
    cosines = (centred / norms).T @ (centred / norms) + 1 / 5
    assert got["nc2_equiangle"] == pytest.approx((np.abs(cosines).sum() - 6 * 1.2) / 30, rel=1e-9)
    # The distance of weights and means is squared.
    apart = weight.T / np.linalg.norm(weight) - centred / np.linalg.norm(centred)
    assert got["nc3"] ** 2 == pytest.approx(np.sum(apart**2), rel=1e-9)
    simplex = (np.eye(6) - 1 / 6) / np.sqrt(5)
    for name, gram in (("nc2_zhu", weight @ weight.T), ("nc3_zhu", weight @ centred)):
        assert got[name] == pytest.approx(np.linalg.norm(gram / np.linalg.norm(gram) - simplex), rel=1e-9)


def test_alpha_is_that_of_the_papers_code() -> None:
    """The weighted fit of Stringer et al. 2019, which α-ReQ takes over, by its normal equations."""
    features = np.random.default_rng(0).standard_normal((900, 70)) / np.arange(1, 71) ** 0.6
    got, _ = measure(Moments.from_rows(features, features[:, :2]), metrics=["alpha_req"])
    variances = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    ranks = np.arange(11, 51)
    design = np.column_stack([-np.log(ranks), np.ones(40)])
    weighted = design / ranks[:, None]
    solved = np.linalg.solve(design.T @ weighted, weighted.T @ np.log(variances[10:50]))
    assert got["alpha_req"] == pytest.approx(solved[0], rel=1e-9)


def by_hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al. 2019, eq. 1 and 2: HSIC(K, L) = tr(KHLH)/(n − 1)², by n × n matrices."""
    n = len(a)
    H = np.eye(n) - 1 / n

    def hsic(K: np.ndarray, L: np.ndarray) -> float:
        return float(np.trace(K @ H @ L @ H)) / (n - 1) ** 2

    K, L = a @ a.T, b @ b.T
    return hsic(K, L) / float(np.sqrt(hsic(K, K) * hsic(L, L)))
