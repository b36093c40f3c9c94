"""`onnxrich expose` and `onnxrich instrument`: the twins of the functions of these names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from onnxrich.cli import _common
from onnxrich.errors import printable


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What both commands take."""
    for option in (
        _common.worker_options,
        _common.force_option,
        click.option("--head", type=click.IntRange(min=1), metavar="K", help="Which of several heads."),
        click.option("--outputs", metavar="NAME", help="Take this tensor as the outputs of the last linear layer."),
        click.option("--features", metavar="NAME", help="Take this tensor as the penultimate layer."),
        click.option(
            "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="File to write."
        ),
        click.argument("model", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


@click.command(short_help="Write MODEL with features and outputs to look at.")
@_options
def expose(model: Path, output: Path, limits: dict[str, Any], **options: Any) -> None:
    """Write MODEL with its penultimate layer and the outputs of its head as further outputs.

    \b
    Example:
      onnxrich expose model.onnx -o exposed.onnx
    """
    import onnxrich

    features, outputs = onnxrich.expose(model, output, **options, **limits)
    click.echo(f"features {printable(features)}\noutputs  {printable(outputs)}")
    _common.wrote([output])


@click.command(short_help="Write MODEL with accumulators for any runtime.")
@_options
@click.option(
    "--data", metavar="FILE", help="Its first rows give the shift that keeps digits when features have a large mean."
)
def instrument(model: Path, output: Path, limits: dict[str, Any], **options: Any) -> None:
    """Write MODEL with accumulators: run by any ONNX runtime, it sums the moments of its head.

    \b
    Example:
      onnxrich instrument model.onnx -o instrumented.onnx --data test.npz
    """
    import onnxrich

    for name in onnxrich.instrument(model, output, **options, **limits):
        click.echo(printable(f"{name} → {name}.next"))
    _common.wrote([output])
