"""scikit-learn for onnxrich: fitted estimators and pipelines, arrays, sparse matrices, data frames of numbers.

- The input of the ONNX model is called X; it is float64, as scikit-learn computes, or float32 where the data are.
- Data are X, or an iterable of X or (X, y). Labels of a classifier become indices into its `classes_`, which is the
  order of the model's outputs.
- Weights are the fitted attributes, named by step and attribute: mlpclassifier/coefs_/0.
- scikit-learn has no epochs to call back from: call an `onnxrich.Recorder` after each `partial_fit`.
- Imports no scikit-learn before it is given something of scikit-learn.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError
from onnxrich.frameworks.items import Inputs, items
from onnxrich.frameworks.registry import LABELS, Item

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "X"
OPSET = {"": 18, "ai.onnx.ml": 3}


def is_native(obj: Any) -> bool:
    """Whether an object is an estimator or a pipeline."""
    base = sys.modules.get("sklearn.base")
    return base is not None and isinstance(obj, base.BaseEstimator)


def load(path: Path) -> Any | None:
    """None: scikit-learn keeps its models in pickles, which run code when they are read."""
    return None


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """X and labels by name; without data, two rows of zeros."""
    check_fitted(obj)
    if loader is None:
        return [{INPUT: np.zeros((2, obj.n_features_in_))}]
    given = {INPUT: loader} if hasattr(loader, "shape") else loader
    return items(given, Inputs((INPUT,), convert=lambda name, value: _array(obj, name, value)))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write an estimator by skl2onnx."""
    import onnx
    import sklearn

    model = _named(_whole(_converted(obj, example[INPUT]), obj), weights(obj))
    outputs, computed = len(model.graph.output), len(forward(obj, example))
    if outputs != computed:
        raise AdapterError(
            f"{outputs} outputs of {type(obj).__name__} in ONNX, and {computed} that can be checked",
            "labels and probabilities, or predictions",
            "Pass a classifier or a regressor.",
        )
    onnx.save(model, path)
    return f"scikit-learn {sklearn.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """What the estimator predicts, as the outputs of its ONNX model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimator that was fitted on a data frame misses its column names
        predicted = np.asarray(obj.predict(given[INPUT]))
        if hasattr(obj, "predict_proba"):
            return [predicted, obj.predict_proba(given[INPUT])]
    return [predicted.reshape(len(predicted), -1)]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """Fitted attributes that are floating-point arrays, or lists of them, of each step."""
    found: dict[str, Any] = {}
    for prefix, step in [(f"{name}/", step) for name, step in obj.steps] if hasattr(obj, "steps") else [("", obj)]:
        for name, value in vars(step).items():
            if not name.endswith("_") or name.startswith("_"):
                continue
            several = isinstance(value, list)
            found |= (
                {f"{prefix}{name}/{i}": part for i, part in enumerate(value)} if several else {prefix + name: value}
            )
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}


def callback(*args: Any, **options: Any) -> Any:
    """None can be made: scikit-learn's estimators train without calling back."""
    raise AdapterError(
        "a callback for scikit-learn", "a loop of `partial_fit`", "Call an onnxrich.Recorder after each partial_fit."
    )


def check_fitted(obj: Any) -> None:
    """Check that an estimator has been fitted.

    Raises:
        AdapterError: when it hasn't.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(obj)
    except NotFittedError as error:
        name = type(obj).__name__
        raise AdapterError(f"{name} without weights", "a fitted estimator", "Call its fit(X, y) first.") from error


def _array(obj: Any, name: str, value: Any) -> NDArray[Any]:
    """X as scikit-learn reads it; labels as indices of classes, where the estimator has those."""
    if name == LABELS:
        return _indices(np.asarray(value), getattr(obj, "classes_", None))
    array = np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    if array.dtype.kind not in "biuf":
        raise AdapterError(
            f"X of type {array.dtype}", "numbers", "Encode words as numbers before the estimator that you pass."
        )
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _indices(labels: NDArray[Any], classes: Any) -> NDArray[Any]:
    if not isinstance(classes, np.ndarray) or labels.ndim != 1:
        return labels
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise AdapterError(
            f"label {labels[unknown][0].item()!r}",
            f"one of the estimator's {len(classes)} classes_",
            "Pass labels as in its training.",
        )
    return np.searchsorted(classes, labels)


def _converted(obj: Any, x: NDArray[Any]) -> ModelProto:
    import skl2onnx
    from sklearn.base import is_classifier

    last = obj.steps[-1][1] if hasattr(obj, "steps") else obj
    options = {id(last): {"zipmap": False}} if is_classifier(obj) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # converters use attributes that scikit-learn renames
            model: ModelProto = skl2onnx.to_onnx(obj, x, options=options, target_opset=OPSET)
    except Exception as error:
        raise AdapterError(
            f"skl2onnx can't convert {type(obj).__name__}: {type(error).__name__}: {str(error).splitlines()[0]}",
            "an estimator that it knows, such as MLPClassifier or a Pipeline that ends in one",
            "Remove or replace the step that it names.",
        ) from error
    hidden = {node.op_type for node in model.graph.node} & {"LinearClassifier", "LinearRegressor"}
    if hidden:
        raise AdapterError(
            f"{type(last).__name__} as the operator {hidden.pop()}, which has its weights in attributes",
            "weights and outputs that are tensors",
            "Pass X as float64, which gives a matrix product; features need a step before a linear model.",
        )
    return model


def _whole(model: ModelProto, obj: Any) -> ModelProto:
    """The model with the predictions of several targets as a table: skl2onnx joins them to one column."""
    import onnx

    targets = getattr(obj.steps[-1][1] if hasattr(obj, "steps") else obj, "n_outputs_", 1)
    last = model.graph.node[-1]
    if len(model.graph.output) > 1 or targets == 1 or last.op_type != "Reshape":
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name == last.input[1]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, targets]), tensor.name))
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = targets
    return made


def _named(model: ModelProto, arrays: Mapping[str, NDArray[Any]]) -> ModelProto:
    """The model with initializers named after the attribute whose values they hold, where it is the only one."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.name = "model"  # skl2onnx makes up a new one each time
    names: dict[str, str] = {}
    for tensor in made.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).ravel()
        same = [name for name, array in arrays.items() if _equal(array, values)]
        if len(same) == 1 and same[0] not in names.values():
            names[tensor.name] = tensor.name = same[0]
            if tensor.dims[:1] == [
                1
            ]:  # a row, which is added to all rows: without that axis it has the shape of the attribute
                tensor.dims[:] = arrays[same[0]].shape
    for node in made.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return made


def _equal(array: NDArray[Any], values: NDArray[Any]) -> bool:
    return array.size == values.size and np.array_equal(array.astype(values.dtype).ravel(), values)
