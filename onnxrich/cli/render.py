"""`onnxrich render`: results computed again from saved moments, the twin of `onnxrich.Analysis.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxrich.cli import _common


@click.command(short_help="Compute results again from a saved moments.npz.")
@click.argument("moments", metavar="MOMENTS|DIR", type=click.Path(path_type=Path))
@click.option("--evaluation", type=click.Path(path_type=Path), metavar="FILE", help="The evaluation.npz beside it.")
@_common.output_option
@_common.force_option
@_common.json_option
@_common.metrics_option
@_common.worker_options
def render(
    moments: Path,
    evaluation: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    metrics: tuple[str, ...] | None,
    limits: dict[str, Any],
) -> None:
    """Compute results again from MOMENTS, a saved moments.npz, or from DIR, the folder of a report that holds one: no
    model, no data, no runtime.

    \b
    Examples:
      onnxrich render report
      onnxrich render record.npz -o again
      onnxrich render report --metrics spectrum
    """
    import onnxrich
    from onnxrich.report import files

    _common.check_output(output, force=force)
    if output is not None:
        files.check_apart(output, [moments, evaluation])
    analysis = onnxrich.Analysis.load(moments, evaluation=evaluation, metrics=metrics, **limits)
    if output is not None:
        written = analysis.save(output, force=force)
    _common.show([analysis], as_json=as_json)
    if output is not None:
        _common.wrote(written)
