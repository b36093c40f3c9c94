"""The verbs of the adapter for scikit-learn."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import explain_errors, quiet
from onnxrich.frameworks.items import ModelInputs, read_items
from onnxrich.frameworks.registry import LABELS, Item

INPUT = "X"
OPSET = {"": 18, "ai.onnx.ml": 3}


def is_native(obj: Any) -> bool:
    """Whether an object is an estimator or a pipeline."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(obj, base.BaseEstimator)


def load(path: Path) -> Any | None:
    """Return None: scikit-learn keeps its models in pickles, which run code when they are read."""
    return None


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """Convert X and labels to arrays; without a loader, make one item of two rows of zeros."""
    _check_fitted(obj)
    if loader is None:
        return [{INPUT: np.zeros((2, obj.n_features_in_))}]
    data = {INPUT: loader} if hasattr(loader, "shape") else loader
    return read_items(data, ModelInputs((INPUT,), convert=lambda name, value: _to_array(obj, name, value)))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write an estimator with skl2onnx."""
    import sklearn

    model = _restore_targets(_convert(obj, example[INPUT]), getattr(_last_step(obj), "n_outputs_", 1))
    model = _name_initializers(model, weights(obj))
    outputs, predictions = len(model.graph.output), len(forward(obj, example))
    if outputs != predictions:
        raise AdapterError(
            f"{type(obj).__name__} has {outputs} outputs in ONNX, and {predictions} that can be checked",
            "labels and probabilities, or predictions",
            "Pass a classifier or a regressor.",
        )
    onnx.save(model, path)
    return f"scikit-learn {sklearn.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """Compute the predictions of the estimator in the order of the ONNX model's outputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimator that was fitted on a data frame misses its column names
        predictions = np.asarray(obj.predict(given[INPUT]))
        if hasattr(obj, "predict_proba"):
            return [predictions, obj.predict_proba(given[INPUT])]
    return [predictions.reshape(len(predictions), -1)]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """The fitted attributes of each step that are floating-point arrays, or lists of them."""
    attributes: dict[str, Any] = {}
    steps = [(f"{name}/", step) for name, step in obj.steps] if hasattr(obj, "steps") else [("", obj)]
    for prefix, step in steps:
        for name, value in vars(step).items():
            if not name.endswith("_") or name.startswith("_"):
                continue
            if isinstance(value, list):
                attributes |= {f"{prefix}{name}/{index}": entry for index, entry in enumerate(value)}
            else:
                attributes[prefix + name] = value
    return {
        name: value for name, value in attributes.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }


def callback(*args: Any, **options: Any) -> Any:
    """Raise an error: scikit-learn's estimators train without calling back."""
    raise AdapterError(
        "scikit-learn's estimators take no callback",
        "a loop of `partial_fit`",
        "Call an onnxrich.Recorder after each partial_fit.",
    )


def _check_fitted(obj: Any) -> None:
    """Check that an estimator has been fitted.

    Raises:
        AdapterError: when it hasn't.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(obj)
    except NotFittedError as error:
        raise AdapterError(
            f"{type(obj).__name__} has no weights yet", "a fitted estimator", "Call its fit(X, y) first."
        ) from error


def _last_step(obj: Any) -> Any:
    """The last step of a pipeline, or the estimator itself."""
    return obj.steps[-1][1] if hasattr(obj, "steps") else obj


def _to_array(obj: Any, name: str, value: Any) -> NDArray[Any]:
    """Convert X as scikit-learn reads it, and labels to indices of the estimator's classes where it has some."""
    if name == LABELS:
        return _class_indices(np.asarray(value), getattr(obj, "classes_", None))
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    if array.dtype.kind not in "biuf":
        raise AdapterError(
            f"X is of type {array.dtype}", "numbers", "Encode words as numbers before the estimator that you pass."
        )
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _class_indices(labels: NDArray[Any], classes: Any) -> NDArray[Any]:
    if not isinstance(classes, np.ndarray) or labels.ndim != 1:
        return labels
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise AdapterError(
            f"label {labels[unknown][0].item()!r} is not one of the estimator's {len(classes)} classes_",
            "",
            "Pass labels as in its training.",
        )
    return np.searchsorted(classes, labels)


def _convert(obj: Any, x: NDArray[Any]) -> ModelProto:
    """Convert an estimator with skl2onnx, without operators that hide weights."""
    import skl2onnx
    from sklearn.base import is_classifier

    last = _last_step(obj)
    options = {id(last): {"zipmap": False}} if is_classifier(obj) else None
    explanation = (
        f"skl2onnx can't convert {type(obj).__name__}",
        "an estimator that it knows, such as MLPClassifier or a Pipeline that ends in one",
        "Remove or replace the step that it names.",
    )
    # Converters use attributes that scikit-learn renames, which gives warnings.
    with explain_errors(*explanation), quiet("skl2onnx", logging.ERROR):
        model: ModelProto = skl2onnx.to_onnx(obj, x, options=options, target_opset=OPSET)
    hidden = {node.op_type for node in model.graph.node} & {"LinearClassifier", "LinearRegressor"}
    if hidden:
        raise AdapterError(
            f"{type(last).__name__} becomes the operator {hidden.pop()}, which holds its weights in attributes",
            "weights and outputs that are tensors",
            "Pass X as float64, which gives a matrix product; features need a step before a linear model.",
        )
    return model


def _restore_targets(model: ModelProto, targets: int) -> ModelProto:
    """A copy with the predictions of several targets as a table: skl2onnx joins them to one column."""
    last = model.graph.node[-1]
    if len(model.graph.output) > 1 or targets == 1 or last.op_type != "Reshape":
        return model
    restored = _copy(model)
    for tensor in restored.graph.initializer:
        if tensor.name == last.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.array([-1, targets]), tensor.name))
    restored.graph.output[0].type.tensor_type.shape.dim[1].dim_value = targets
    return restored


def _name_initializers(model: ModelProto, arrays: Mapping[str, NDArray[Any]]) -> ModelProto:
    """A copy with initializers named after the only attribute that has the same values."""
    named = _copy(model)
    named.graph.name = "model"  # skl2onnx generates another name each time
    names: dict[str, str] = {}
    for tensor in named.graph.initializer:
        values = numpy_helper.to_array(tensor).ravel()
        matches = [name for name, array in arrays.items() if _is_equal(array, values)]
        if len(matches) == 1 and matches[0] not in names.values():
            names[tensor.name] = tensor.name = matches[0]
            # A row that is added to all rows has an axis more than the attribute.
            if tensor.dims[:1] == [1]:
                tensor.dims[:] = arrays[matches[0]].shape
    for node in named.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return named


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _is_equal(array: NDArray[Any], values: NDArray[Any]) -> bool:
    return array.size == values.size and np.array_equal(array.astype(values.dtype).ravel(), values)
