"""`onnxrich.inspect`: what a model is, before it is measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.pipelines.options import InspectOptions
from onnxrich.results.inspection import Inspection

if TYPE_CHECKING:
    from onnx import ModelProto


@takes(InspectOptions)
def inspect(model: str | os.PathLike[str] | bytes | ModelProto, options: InspectOptions) -> Inspection:
    """Show a model's inputs and outputs, its possible heads, and why one is chosen. The twin of `onnxrich inspect`.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto.
        <options>

    Raises:
        ModelError: when the model can't be read.
        WorkerError: when the worker crashed, or a limit is given without one.

    >>> import onnxrich
    >>> inspection = onnxrich.inspect(onnxrich.demo_file("rich.onnx"))
    >>> [(head.features, head.outputs, head.p, head.verified) for head in inspection.candidates]
    [('h3', 'logits', 160, True)]
    """
    inspection: Inspection = perform("inspect", model, options)
    return inspection
