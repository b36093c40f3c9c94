"""`onnxrich track`: the twin of `onnxrich.track`."""

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


@click.command(cls=LongCommand, short_help="Follow a training over its checkpoints.")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...")
@takes(SeriesOptions)
@directory_option("track.json, track.csv, report.html, figure.png and figure.svg")
@force_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print a line a checkpoint, as CSV, instead of the table.")
def track(
    checkpoints: tuple[str, ...],
    options: dict[str, Any],
    output: Path | None,
    force: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Follow a training over its CHECKPOINTs, all on the same data: metrics against the step, and where D_LR falls.

    A CHECKPOINT is an ONNX file, saved moments, a quoted pattern, or a folder: of ONNX files, or of the records that an
    onnxrich.Recorder wrote while training. Steps stand in the files, or in their names; else the order is that of the
    arguments.

    \b
    Examples:
      onnxrich track checkpoints --data test.npz
      onnxrich track "run/step-*.onnx" --data test.npz --init run/step-0.onnx -o report
      onnxrich track records --csv > course.csv
    """
    import onnxrich
    from onnxrich.pipelines.checkpoints import checkpoint_files
    from onnxrich.report import track as report

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    shown.check_output(output, force=force)
    if output is not None:
        shown.check_output(output, force=force, inputs=[*checkpoint_files(checkpoints), options["init"]])
    with progress_line() as listen:
        result = onnxrich.track(checkpoints, progress=listen, **options)
    if output is not None:
        written = result.save(output, force=force)
    if as_csv:
        click.echo(result.to_csv(), nl=False)
    else:
        shown.show_document(result.to_dict(), functools.partial(report.render, result), as_json=as_json)
    if output is not None:
        shown.list_written(written)
