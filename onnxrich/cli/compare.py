"""`onnxrich compare`: the twin of `onnxrich.compare`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from onnxrich.cli import output as shown
from onnxrich.cli._common import progress_line
from onnxrich.cli.help import LongCommand
from onnxrich.cli.options import directory_option, force_option, json_option, takes
from onnxrich.pipelines.options import SeriesOptions


@click.command(cls=LongCommand, short_help="Measure several models on the same data, in one pass.")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="MODEL...")
@takes(SeriesOptions)
@directory_option("comparison.json, report.html, figure.png and figure.svg, and the files of each model,")
@force_option
@json_option
def compare(models: tuple[Path, ...], options: dict[str, Any], output: Path | None, force: bool, as_json: bool) -> None:
    """Measure several MODELs on the same data, in one pass: one table, with the differences to the first model.

    A MODEL may also be a moments.npz that `onnxrich run --output DIR` saved, or that DIR. How alike the features of two
    models are is said by linear CKA, from exact sums of products.

    \b
    Examples:
      onnxrich compare adam.onnx sgd.onnx --data test.npz
      onnxrich compare trained.onnx --init start.onnx --data test.npz -o report
      onnxrich compare a.onnx b.onnx c.onnx --data test.npz --json | jq .differences
      onnxrich compare report-a report-b
    """
    import onnxrich
    from onnxrich.report import comparison as report

    if len(models) < 2 and options["init"] is None:
        raise click.UsageError("One model: pass two or more to compare, or use `onnxrich run`.")
    shown.check_output(output, force=force, inputs=[*models, options["init"]])
    with progress_line(f"{len(models)} models") as listen:
        comparison = onnxrich.compare(models, progress=listen, **options)
    if output is not None:
        written = comparison.save(output, force=force)
    shown.show_document(comparison.to_dict(), functools.partial(report.render, comparison), as_json=as_json)
    if output is not None:
        shown.list_written(written)
