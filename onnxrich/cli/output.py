"""Output of the commands: results, documents, profiles, and the names of the files that were written."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxrich.errors import printable

if TYPE_CHECKING:
    from onnxrich.results.analysis import Analysis


def check_output(output: Path | None, *, force: bool, inputs: Iterable[Any] = ()) -> None:
    """Refuse a folder that results can't go to, before any work is done, and --force where nothing is written.

    Args:
        output: the folder, None without one.
        force: whether it may hold an earlier report.
        inputs: models, moments and reports that are read; the earlier report must hold none of them.

    Raises:
        OutputError: when the folder is not empty and not to be replaced, or holds what is read.
    """
    if output is not None:
        from onnxrich.report import files

        files.check(output, force=force)
        files.check_apart(output, inputs)
    elif force:
        raise click.UsageError("--force is of the files of --output: pass -o DIR as well, or leave --force out.")


def show(analyses: Sequence[Analysis], *, as_json: bool) -> None:
    """Print analyses: a table for people, or one JSON document (a list of them for several)."""
    from onnxrich.report import terminal

    documents = [analysis.to_dict() for analysis in analyses]
    document = documents[0] if len(documents) == 1 else documents
    show_document(document, functools.partial(terminal.render, analyses), as_json=as_json)


def show_document(document: Any, render: Callable[..., str], *, as_json: bool) -> None:
    """Print a document, or what `render` makes of it for people."""
    if as_json:
        # ASCII suits every terminal and encoding.
        click.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    terminal_width = shutil.get_terminal_size((100, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = render(
        width=min(terminal_width, 120),
        color=sys.stdout is not None and sys.stdout.isatty(),
        ascii_only=not encoding.lower().startswith("utf"),
    )
    click.echo(text, nl=not text.endswith("\n"))


def show_profile(analysis: Analysis) -> None:
    """Print where the time went, on standard error: seconds and share of each stage."""
    from onnxrich.cli._live_line import bottleneck

    seconds = analysis.record.runtime.profile
    total = sum(seconds.values()) or 1.0
    click.echo(f"profile of {printable(analysis.record.model.path)}", err=True)
    for stage, spent in seconds.items():
        click.echo(f"  {stage:<30} {spent:9.3f} s  {spent / total:4.0%}", err=True)
    if analysis.record.runtime.resumed < analysis.record.data.samples:
        reading, running = (seconds.get(stage, 0.0) for stage in ("reading", "running"))
        click.echo(f"  reading against running: {bottleneck(reading / (reading + running or 1.0))}", err=True)


def list_written(paths: Sequence[Path]) -> None:
    """Print the paths that were written, on standard error; the page that people want to open comes last."""
    for path in sorted(paths, key=lambda path: path.name == "report.html"):
        click.echo(f"wrote {printable(str(path))}", err=True)
