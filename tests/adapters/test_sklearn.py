"""scikit-learn through ONNX says what scikit-learn's own weights say."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters._docs import assert_runs
from adapters._parity import assert_parity

import onnxrich

pytestmark = pytest.mark.sklearn

N, WIDTH, CLASSES = 600, 8, 4
RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (N, WIDTH))
Y = (X @ RNG.normal(size=(WIDTH, CLASSES))).argmax(1)


def perceptron(kind: str = "MLPClassifier", **options: Any) -> Any:
    """A perceptron of two hidden layers that stops long before it has converged."""
    from sklearn import neural_network

    return getattr(neural_network, kind)(hidden_layer_sizes=(24, 16), max_iter=20, random_state=0, **options)


def fitted(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """The model after its few epochs, without the warning that they were few."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(x, y)


def forward(model: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Last hidden layer and outputs before their activation, from `coefs_` and `intercepts_`, in float64."""
    phi = x.astype(np.float64)
    for weight, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        phi = phi @ weight + bias
        phi = np.maximum(phi, 0) if model.activation == "relu" else np.tanh(phi)
    return phi, phi @ model.coefs_[-1] + model.intercepts_[-1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_classifier(dtype: type, activation: str) -> None:
    """A classifier in either precision."""
    model = fitted(perceptron(activation=activation), X.astype(dtype), Y)
    assert_parity(onnxrich.run(model, X.astype(dtype), Y), *forward(model, X.astype(dtype)), Y)


@pytest.mark.parametrize("names", [np.array(list("dbac")), np.array([5, -1, 9, 2])])
def test_pipeline_with_classes_of_its_own(names: np.ndarray) -> None:
    """Classes that are words or any integers become the indices of the outputs."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = fitted(make_pipeline(StandardScaler(), perceptron()), X, names[Y])
    indices = np.array([list(model.classes_).index(name) for name in names[Y]])
    truth = forward(model[-1], (X - X.mean(0)) / X.std(0))
    assert_parity(onnxrich.run(model, X, names[Y]), *truth, indices)
    items = [(X[:250], names[Y][:250]), (X[250:], names[Y][250:])]
    assert_parity(onnxrich.run(model, items), *truth, indices)


def test_evaluation_data() -> None:
    """Words are labels of evaluation data too."""
    names = np.array(list("dbac"))
    model = fitted(perceptron(), X[:300], names[Y[:300]])
    halves = [{"data": X[:300], "labels": names[Y[:300]]}, {"eval_data": X[300:], "eval_labels": names[Y[300:]]}]
    analysis = onnxrich.run(model, **halves[0], **halves[1])
    assert analysis.metrics["accuracy"] == pytest.approx(model.score(X[:300], names[Y[:300]]))
    assert analysis.evaluation is not None


@pytest.mark.parametrize("targets", [1, 3])
def test_regressor(targets: int) -> None:
    """Real targets, one or several, give quality against them."""
    import oracle

    y = np.sin(X[:, :targets])
    model = fitted(perceptron("MLPRegressor"), X, np.squeeze(y, 1) if targets == 1 else y)
    analysis = onnxrich.run(model, X, y)
    features, outputs = forward(model, X)
    # Float64 throughout: the tolerance is the oracle's own, whose n × n eigenproblem errs by some n · eps.
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=1e-10)
    assert analysis.curves.quality is not None


def test_names_and_metadata(tmp_path: Path) -> None:
    """Initializers bear the names of the steps' attributes, and the model says where it comes from."""
    import onnx
    import sklearn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = fitted(make_pipeline(StandardScaler(), perceptron()), X, Y)
    onnxrich.export(model, tmp_path / "model.onnx", X)
    written = onnx.load(tmp_path / "model.onnx")
    names = {tensor.name for tensor in written.graph.initializer}
    assert {f"mlpclassifier/{kind}_/{i}" for kind in ("coefs", "intercepts") for i in range(3)} <= names
    assert {"standardscaler/mean_", "standardscaler/scale_"} <= names
    marks = {entry.key: entry.value for entry in written.metadata_props}
    assert marks["onnxrich.framework"] == "scikit-learn"
    assert marks["onnxrich.framework_version"] == sklearn.__version__
    assert [value.name for value in written.graph.input] == ["X"]


def test_record() -> None:
    """A loop of `partial_fit` records D_LR of each step's own weights from one export."""
    names = np.array(list("dbac"))
    model = perceptron()
    recorder = onnxrich.Recorder(X, labels=names[Y])
    for step in range(3):
        model.partial_fit(X, names[Y], classes=names)
        analysis = recorder(model, step)
        indices = np.searchsorted(model.classes_, names[Y])
        assert_parity(analysis, *forward(model, X), indices)
        assert "exported_again" not in [notice.code for notice in analysis.notices]


def test_sparse_frames_and_nothing() -> None:
    """Sparse matrices are read as arrays are; without data there is a smoke test."""
    from scipy.sparse import csr_array

    model = fitted(perceptron(), X, Y)
    dense, sparse = onnxrich.run(model, X, Y), onnxrich.run(model, csr_array(X), Y)
    assert sparse.metrics == dense.metrics
    assert onnxrich.run(model).record.data.synthetic


def test_refusals() -> None:
    """What can't be measured is said with a remedy."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    def refused(model: Any, x: Any, y: Any = None) -> tuple[str, str]:
        with pytest.raises(onnxrich.OnnxrichError) as caught:
            onnxrich.run(model, x, y)
        return caught.value.found, caught.value.needed

    model = fitted(perceptron(), X, Y)
    assert refused(perceptron(), X) == ("MLPClassifier has no weights yet", "a fitted estimator")
    assert refused(model, X, Y + 4)[0] == "label 4 is not one of the estimator's 4 classes_"
    assert refused(model, np.full((9, WIDTH), "a")) == ("X is of type <U1", "numbers")
    single = X.astype(np.float32)
    linear = refused(fitted(LogisticRegression(), single, Y), single)
    assert "LogisticRegression becomes the operator LinearClassifier" in linear[0]
    assert "there is no layer before it" in refused(fitted(LogisticRegression(), X, Y), X)[0]
    assert refused(fitted(SVC(), X, Y), X)[0] == "SVC has 2 outputs in ONNX, and 1 that can be checked"
    boosting = fitted(HistGradientBoostingClassifier(max_iter=2), X, Y)
    assert refused(boosting, X)[0].startswith("skl2onnx can't convert HistGradientBoostingClassifier: ")


def test_documentation(tmp_path: Path) -> None:
    """What the documentation shows runs."""
    assert_runs("scikit-learn", tmp_path)
