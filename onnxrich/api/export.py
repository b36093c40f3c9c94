"""`onnxrich.export`: a framework's model as an ONNX file."""

from __future__ import annotations

from typing import Any

from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.pipelines.options import ExportOptions
from onnxrich.results.export import Export


@takes(ExportOptions)
def export(model: Any, options: ExportOptions) -> Export:
    """Write a framework's model as an ONNX file with an open batch size, checked against the framework.

    Args:
        model: the model, or what `onnxrich export` takes: a file or folder of a framework, or `package.module:build`, a
            function without arguments that returns the model, or the model and an example.
        <options>

    Raises:
        AdapterError: when no adapter takes the model, or its export is not what the framework computes.
        DataError: when the example holds no rows.
        OutputError: when the file exists, or can't be written.
    """
    exported: Export = perform("export", model, options)
    return exported
