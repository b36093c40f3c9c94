"""`onnxrich.expose` and `onnxrich.instrument`: patched models for any ONNX runtime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.pipelines.options import ExposeOptions, InstrumentOptions

if TYPE_CHECKING:
    from onnx import ModelProto


@takes(ExposeOptions)
def expose(model: str | os.PathLike[str] | bytes | ModelProto, options: ExposeOptions) -> tuple[str, str]:
    """Write a model that also yields its penultimate layer and the outputs of its head, as tables of rows.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto; it is not changed.
        <options>

    Returns:
        Names of the two outputs, float32 of shape (rows, p) and (rows, C).

    Raises:
        OnnxrichError: when the model has no such head, or the file can't be written.
    """
    features, outputs = perform("expose", model, options)
    return features, outputs


@takes(InstrumentOptions)
def instrument(model: str | os.PathLike[str] | bytes | ModelProto, options: InstrumentOptions) -> tuple[str, ...]:
    """Write a model that sums the moments of its head as it runs, in any ONNX runtime and any language.

    The model takes accumulators as further inputs, zero at first, and yields their next values.
    `Moments.from_accumulators` turns the last ones into moments. All rows count the same: leave padding out.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto; it is not changed.
        <options>

    Returns:
        Names of the accumulators; the output of each has the same name followed by `.next`.

    Raises:
        OnnxrichError: when the model has no such head or is instrumented already, or the file can't be written.
    """
    return tuple(perform("instrument", model, options))
