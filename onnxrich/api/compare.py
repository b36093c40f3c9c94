"""`onnxrich.compare`: several models on the same data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.errors import DataError
from onnxrich.pipelines.options import SeriesOptions
from onnxrich.results.comparison import Comparison

if TYPE_CHECKING:
    from onnx import ModelProto


@takes(SeriesOptions)
def compare(models: Sequence[str | os.PathLike[str] | bytes | ModelProto], options: SeriesOptions) -> Comparison:
    """Measure several models on the same data, in one pass. The command `onnxrich compare` is this function.

    All models are loaded at once, and each batch goes through all of them: the data are read once. Differences have
    the errors of pairs, because the same rows vary all models alike. The features of two models are compared by linear
    CKA, from the exact products of their features.

    Args:
        models: paths of ONNX files, their bytes, ModelProtos, or paths of a saved `moments.npz` or of the folder of a
            report that holds one; these take no part in the pass and have no CKA with others. One input of the data
            feeds the input of its name in each model, or the only input.
        <options>

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; the message names the model.

    >>> import onnxrich
    >>> models = [onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("lazy.onnx")]
    >>> comparison = onnxrich.compare(models, onnxrich.demo_file("evaluation.npz"))
    >>> comparison.differences[1]["d_lr"].clear
    True
    """
    if isinstance(models, str | os.PathLike | bytes) or not isinstance(models, Iterable):
        raise DataError("a single model", "a list of models", "Pass [model, other_model].")
    listed = list(models)
    for model in [*listed, *([] if options.init is None else [options.init])]:
        _check_model(model)
    comparison: Comparison = perform("compare", listed, options)
    return comparison


def _check_model(model: Any) -> None:
    """Check that a model is one of ONNX.

    Raises:
        DataError: when it is a framework's.
    """
    # A ModelProto is recognised by its name: importing onnx takes longer than all the rest.
    if not isinstance(model, str | os.PathLike | bytes) and type(model).__name__ != "ModelProto":
        raise DataError(
            f"a model of type {type(model).__qualname__}",
            "paths, bytes or ModelProtos, when there are several models",
            "Export it first: onnxrich.export(model, 'model.onnx', example).",
        )
