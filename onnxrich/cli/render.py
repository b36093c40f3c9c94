"""`onnxrich render`: results computed again from saved moments, the twin of `onnxrich.Analysis.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxrich.cli import output as shown
from onnxrich.cli.options import directory_option, force_option, json_option, takes
from onnxrich.pipelines.options import LoadOptions


@click.command(short_help="Compute results again from a saved moments.npz.")
@click.argument("moments", metavar="MOMENTS|DIR", type=click.Path(path_type=Path))
@takes(LoadOptions)
@directory_option("analysis.json, moments.npz, report.html, figure.png and figure.svg")
@force_option
@json_option
def render(moments: Path, options: dict[str, Any], output: Path | None, force: bool, as_json: bool) -> None:
    """Compute results again from MOMENTS, a saved moments.npz, or from DIR, the folder of a report that holds one: no
    model, no data, no runtime.

    \b
    Examples:
      onnxrich render report
      onnxrich render record.npz -o again
      onnxrich render report --metrics spectrum
    """
    import onnxrich

    shown.check_output(output, force=force, inputs=[moments, options["evaluation"]])
    analysis = onnxrich.Analysis.load(moments, **options)
    if output is not None:
        written = analysis.save(output, force=force)
    shown.show([analysis], as_json=as_json)
    if output is not None:
        shown.list_written(written)
