"""`export`: a framework's model as an ONNX file, written by its adapter and checked against the framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxrich.frameworks.export import export_to_file
from onnxrich.pipelines.options import ExportOptions
from onnxrich.results.export import Export


def export(model: Any, options: ExportOptions) -> Export:
    """Write a framework's model, or what a path or `package.module:function` stands for; the files appear whole."""
    exported = export_to_file(model, Path(options.output), options.example, force=options.force, step=options.step)
    return Export(
        exported.path,
        exported.inputs,
        exported.outputs,
        exported.framework,
        exported.deviation.error,
        exported.deviation.allowed,
    )
