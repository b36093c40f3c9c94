"""Makes the scikit-learn family: multilayer perceptrons with a head, and estimators that must be refused.

The truth is scikit-learn's own forward pass, `_forward_pass`, with the output activation switched to identity.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import skl2onnx
import sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from _record import Array, Head, Spec, Zoo

WIDTH = 8


@dataclass(frozen=True)
class Case:
    """An estimator, the targets it is fitted on, and options of skl2onnx for its last step."""

    name: str
    build: Callable[[], BaseEstimator]
    target: Callable[[Array, np.random.Generator], Array]
    head: bool = True
    options: dict[str, object] = field(default_factory=dict)
    opset: int = 18
    double: bool = False
    more: dict[str, object] = field(default_factory=dict)


def classes(k: int, *, names: bool = False) -> Callable[[Array, np.random.Generator], Array]:
    """Targets: which of k random directions fits a row best; as numbers or as words."""

    def make(x: Array, rng: np.random.Generator) -> Array:
        label = (x @ rng.normal(size=(x.shape[1], k))).argmax(1)
        return np.array([f"class {i}" for i in label]) if names else label

    return make


def several(k: int) -> Callable[[Array, np.random.Generator], Array]:
    """Targets: k independent yes-or-no labels."""
    return lambda x, rng: (x @ rng.normal(size=(x.shape[1], k)) > 0).astype(int)


def values(k: int) -> Callable[[Array, np.random.Generator], Array]:
    """Targets: k real values; flat if one."""
    return lambda x, rng: np.squeeze(np.sin(x @ rng.normal(size=(x.shape[1], k))), 1) if k == 1 else np.sin(x[:, :k])


def truth(model: BaseEstimator, x: Array) -> Head:
    """Features and pre-activation outputs of the fitted perceptron, from its own forward pass."""
    if isinstance(model, Pipeline):
        x = model[:-1].transform(x)
        model = model[-1]
    activation, model.out_activation_ = model.out_activation_, "identity"
    layers = model._forward_pass([x] + [None] * (model.n_layers_ - 1))
    model.out_activation_ = activation
    return Head(layers[-2], layers[-1], model.coefs_[-1], model.intercepts_[-1])


def record(zoo: Zoo, case: Case) -> None:
    """Fits, converts and adds an entry."""
    rng = np.random.default_rng(sum(case.name.encode()))
    kind = np.float64 if case.double else np.float32
    train, x = rng.normal(size=(200, WIDTH)).astype(kind), rng.normal(size=(32, WIDTH)).astype(kind)
    model = case.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(train, case.target(train, rng))
    heads = [truth(model, x)] if case.head else []
    exporter = f"skl2onnx {skl2onnx.__version__}, scikit-learn {sklearn.__version__}"
    spec = Spec(case.name, exporter, expected="head" if case.head else "refuse", **case.more)  # type: ignore[arg-type]
    zoo.add(spec, export(model, case), {"x": x}, heads=heads, outputs=outputs(model, x, case))


def export(model: BaseEstimator, case: Case) -> onnx.ModelProto:
    """skl2onnx with a symbolic batch; the IR version is lowered to 10, which the opset allows."""
    kind = DoubleTensorType if case.double else FloatTensorType
    last = model[-1] if isinstance(model, Pipeline) else model
    options = {id(last): case.options} if case.options else None
    proto = skl2onnx.convert_sklearn(
        model, initial_types=[("x", kind([None, WIDTH]))], options=options, target_opset={"": case.opset, "ai.onnx.ml": 3}
    )
    proto.ir_version = min(proto.ir_version, 10)
    proto.graph.name = case.name  # else a new random one each time
    return proto


def outputs(model: BaseEstimator, x: Array, case: Case) -> list[Array | None]:
    """The estimator's predictions where they are arrays of numbers: labels, and probabilities without ZipMap."""
    if not case.head:
        return []
    label = model.predict(x)
    if not hasattr(model, "predict_proba"):
        return [np.asarray(label).reshape(-1, 1)]  # skl2onnx flattens several targets into one column
    return [label if label.dtype.kind in "if" else None, model.predict_proba(x) if case.options else None]


def classifier(*hidden: int, activation: str = "relu") -> Callable[[], MLPClassifier]:
    """A builder for a perceptron that is trained a little."""
    return lambda: MLPClassifier(hidden_layer_sizes=hidden, activation=activation, max_iter=15, random_state=0)


def regressor(*hidden: int, activation: str = "relu") -> Callable[[], MLPRegressor]:
    """The same for real targets."""
    return lambda: MLPRegressor(hidden_layer_sizes=hidden, activation=activation, max_iter=15, random_state=0)


def cases() -> list[Case]:
    """All estimators of the family."""
    arrays, double = {"zipmap": False}, {"rtol_features": 1e-12, "rtol_logits": 1e-12, "tolerance": "float64"}
    linear = {"notes": "The weights are attributes of an ai.onnx.ml operator: no penultimate layer, no tensor of logits."}
    trees, distances = {"notes": "Trees: no linear layer."}, {"notes": "Distances: the matrix product is one of three terms."}
    forest = lambda: RandomForestClassifier(5, max_depth=3, random_state=0)
    return [
        Case("mlp_zipmap", classifier(24, 16), classes(4)),
        Case("mlp_zipmap_words", classifier(16), classes(3, names=True), opset=15),
        Case("mlp_arrays", classifier(24, 16, activation="tanh"), classes(4), options=arrays),
        Case("mlp_logistic_old_opset", classifier(16, activation="logistic"), classes(5), options=arrays, opset=11),
        Case("mlp_binary", classifier(16), classes(2), options=arrays),
        Case("mlp_multilabel", classifier(16), several(4), options=arrays),
        Case("mlp_float64", classifier(16, 8), classes(3), options=arrays, double=True, more=double),
        Case("pipeline_mlp", lambda: make_pipeline(StandardScaler(), classifier(16)()), classes(4), options=arrays),
        Case("regressor", regressor(24, 12), values(1)),
        Case("regressor_several", regressor(12, activation="tanh"), values(3),
             more={"notes": "skl2onnx flattens the (n, 3) targets into (3 n, 1) behind the head."}),
        Case("pipeline_regressor", lambda: make_pipeline(StandardScaler(), PCA(6), regressor(16)()), values(1)),
        Case("logistic_regression", LogisticRegression, classes(4), head=False, more=linear),
        Case("linear_regression", LinearRegression, values(1), head=False, more=linear),
        Case("random_forest", forest, classes(3), head=False, options=arrays, more=trees),
        Case("forest_regressor", lambda: RandomForestRegressor(5, max_depth=3, random_state=0), values(1), head=False, more=trees),
        Case("gradient_boosting", lambda: GradientBoostingClassifier(n_estimators=4, random_state=0), classes(3), head=False, more=trees),
        Case("isolation_forest", lambda: IsolationForest(n_estimators=4, random_state=0), classes(2), head=False, more=trees),
        Case("kmeans", lambda: KMeans(5, n_init=1, random_state=0), classes(2), head=False, more=distances),
        Case("neighbours", lambda: KNeighborsClassifier(3), classes(3), head=False, options=arrays),
        Case("naive_bayes", GaussianNB, classes(3), head=False, options=arrays),
        Case("support_vectors", lambda: SVC(max_iter=50), classes(3), head=False),
    ]


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    zoo = Zoo("sklearn")
    for case in cases():
        if not only or case.name in only:
            record(zoo, case)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
