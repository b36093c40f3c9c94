"""`onnxrich export`: the twin of `onnxrich.export`."""

from __future__ import annotations

from typing import Any

import click

from onnxrich._utils.text import display
from onnxrich.cli.options import takes
from onnxrich.cli.output import list_written, write
from onnxrich.pipelines.options import ExportOptions


@click.command(short_help="Write a framework's model as an ONNX file.")
@click.argument("spec")
@takes(ExportOptions)
def export(spec: str, options: dict[str, Any]) -> None:
    """Write a framework's model as ONNX, with an open batch size, checked against the framework.

    SPEC is a Keras file, a SavedModel, a PyTorch program (.pt2), or package.module:function, which gives the model, or
    the model and an example. Never a pickle: to load one is to run what is in it.

    \b
    Examples:
      onnxrich export program.pt2 -o model.onnx
      onnxrich export training.models:build -o model.onnx --data test.npz
    """
    import onnxrich

    exported = onnxrich.export(spec, **options)
    lines = {
        "inputs": ", ".join(map(display, exported.inputs)),
        "outputs": ", ".join(map(display, exported.outputs)),
        "framework": exported.framework,
        "largest error": f"{exported.error:.1e} of the largest output; rounding explains {exported.allowed:.1e}",
    }
    for name, value in lines.items():
        write(f"{name:13}  {value}")
    list_written([exported.path])
