"""`onnxrich export`: the twin of `onnxrich.export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxrich.cli import _common
from onnxrich.errors import printable


@click.command(short_help="Write a framework's model as an ONNX file.")
@click.argument("spec")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="ONNX file to write."
)
@click.option(
    "--data", metavar="FILE", help="An .npz with rows to export with, where the model doesn't say its shapes itself."
)
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the training, for the metadata.")
@_common.force_option
@_common.worker_options
def export(spec: str, output: Path, data: str | None, limits: dict[str, Any], **options: Any) -> None:
    """Write a framework's model as ONNX, with an open batch size, checked against the framework.

    SPEC is a Keras file, a SavedModel, a PyTorch program (.pt2), or package.module:function, which gives the model, or
    the model and an example. Never a pickle: to load one is to run what is in it.

    \b
    Examples:
      onnxrich export program.pt2 -o model.onnx
      onnxrich export training.models:build -o model.onnx --data test.npz
    """
    import onnxrich

    done = onnxrich.export(spec, output, data, **options, **limits)
    lines = {
        "inputs": ", ".join(done.inputs),
        "outputs": ", ".join(done.outputs),
        "framework": done.framework,
        "largest error": f"{done.error:.1e} of the largest output; rounding explains {done.allowed:.1e}",
    }
    for name, value in lines.items():
        click.echo(printable(f"{name:13}  {value}"))
    _common.wrote([done.path])
