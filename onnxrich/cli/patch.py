"""`onnxrich expose` and `onnxrich instrument`: the twins of the functions of these names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxrich._utils.text import display
from onnxrich.cli.options import takes
from onnxrich.cli.output import list_written, write
from onnxrich.pipelines.options import ExposeOptions, InstrumentOptions


@click.command(short_help="Write MODEL with features and outputs to look at.")
@click.argument("model", type=click.Path(path_type=Path))
@takes(ExposeOptions)
def expose(model: Path, options: dict[str, Any]) -> None:
    """Write MODEL with its penultimate layer and the outputs of its head as further outputs.

    \b
    Example:
      onnxrich expose model.onnx -o exposed.onnx
    """
    import onnxrich

    features, outputs = onnxrich.expose(model, **options)
    write(f"features {display(features)}\noutputs  {display(outputs)}")
    list_written([options["output"]])


@click.command(short_help="Write MODEL with accumulators for any runtime.")
@click.argument("model", type=click.Path(path_type=Path))
@takes(InstrumentOptions)
def instrument(model: Path, options: dict[str, Any]) -> None:
    """Write MODEL with accumulators: run by any ONNX runtime, it sums the moments of its head.

    \b
    Example:
      onnxrich instrument model.onnx -o instrumented.onnx --data test.npz
    """
    import onnxrich

    for name in onnxrich.instrument(model, **options):
        write(f"{display(name)} → {display(name)}.next")
    list_written([options["output"]])
