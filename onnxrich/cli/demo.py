"""`onnxrich demo`: the embedded example of a rich and a lazy model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxrich.cli import output as shown
from onnxrich.cli._common import progress_line
from onnxrich.cli.options import directory_option, force_option, json_option, takes
from onnxrich.pipelines.options import WorkOptions

EXPLANATION = """\
Both models are the same network, trained on MNIST images into which the label was written. The rich one, trained end
to end, learned to read that label and nothing else; the lazy one, of which only the last layer was trained, had to look
at the image. Here the written labels are random: reading them gives 10 % accuracy, looking at the image gives more.
The rich model scores worse: richness is how a model learned, not how well (experiment of Nam et al., Figure 1)."""


@click.command(short_help="Compare two embedded models, one rich and one lazy.")
@takes(WorkOptions)
@directory_option("analysis.json, moments.npz, report.html, figure.png and figure.svg")
@force_option
@json_option
def demo(options: dict[str, Any], output: Path | None, force: bool, as_json: bool) -> None:
    """Run two embedded models, one rich and one lazy, and show them side by side.

    \b
    Examples:
      onnxrich demo
      onnxrich demo -o onnxrich-demo      writes a report with both models' curves
    """
    import onnxrich
    from onnxrich.demo import DATA, MODELS, demo_file
    from onnxrich.report import files

    shown.check_output(output, force=force)
    analyses = []
    for name in MODELS:
        with progress_line(name) as listen:
            analyses.append(onnxrich.run(demo_file(name), demo_file(DATA), progress=listen, **options))
    if output is not None:
        written = files.save_comparison(analyses, output, force=force)
    shown.show(analyses, as_json=as_json)
    if not as_json:
        click.echo(EXPLANATION)
    if output is not None:
        shown.list_written(written)
