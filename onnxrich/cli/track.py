"""`onnxrich track`: the twin of `onnxrich.track`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from onnxrich.cli import _common, _groups
from onnxrich.cli._data_options import data_options
from onnxrich.cli._sections import LongCommand
from onnxrich.cli.progress import progress_line


@click.command(cls=LongCommand, short_help="Follow a training over its checkpoints.")
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...")
@data_options
@_groups.init_option
@_groups.output_option("track.json, track.csv, report.html, figure.png and figure.svg")
@_common.force_option
@_common.json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print a line a checkpoint, as CSV, instead of the table.")
@_common.metrics_option
@_groups.head_options
@_common.device_options
@_groups.pass_options
@_common.worker_options
def track(
    checkpoints: tuple[str, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    as_csv: bool,
    limits: dict[str, Any],
    **options: Any,
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
    from onnxrich.pipelines import checkpoints as series
    from onnxrich.report import files, terminal

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    _common.check_output(output, force=force)
    if output is not None:
        files.check_apart(output, [*series.checkpoint_files(checkpoints), options["init"]])
    with progress_line() as listen:
        found = onnxrich.track(checkpoints, progress=listen, **options, **limits)
    if output is not None:
        written = found.save(output, force=force)
    if as_csv:
        click.echo(found.to_csv(), nl=False)
    else:
        _common.show_document(found.to_dict(), functools.partial(terminal.render, found), as_json=as_json)
    if output is not None:
        _common.wrote(written)
