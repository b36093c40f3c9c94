"""`onnxrich compare`: the twin of `onnxrich.compare`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from onnxrich.cli import _common, _groups
from onnxrich.cli._data_options import data_options
from onnxrich.cli._sections import LongCommand
from onnxrich.cli.progress import progress_line


@click.command(cls=LongCommand, short_help="Measure several models on the same data, in one pass.")
@click.argument("models", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="MODEL...")
@data_options
@_groups.init_option
@_groups.output_option("comparison.json, report.html, figure.png and figure.svg, and the files of each model,")
@_common.force_option
@_common.json_option
@_common.metrics_option
@_groups.head_options
@_common.device_options
@_groups.pass_options
@_common.worker_options
def compare(
    models: tuple[Path, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    limits: dict[str, Any],
    **options: Any,
) -> None:
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
    from onnxrich.report import files, terminal

    if len(models) < 2 and options["init"] is None:
        raise click.UsageError("One model: pass two or more to compare, or use `onnxrich run`.")
    _common.check_output(output, force=force)
    if output is not None:
        files.check_apart(output, [*models, options["init"]])
    with progress_line(f"{len(models)} models") as listen:
        found = onnxrich.compare(models, progress=listen, **options, **limits)
    if output is not None:
        written = found.save(output, force=force)
    _common.show_document(found.to_dict(), functools.partial(terminal.render, found), as_json=as_json)
    if output is not None:
        _common.wrote(written)
