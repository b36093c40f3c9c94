"""Output of the commands: results, documents, profiles, and the names of the files that were written."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxrich._utils.text import LONGEST_NOTICE, display, fit_message
from onnxrich.cli.progress import bottleneck
from onnxrich.progress import Stage

if TYPE_CHECKING:
    from onnxrich.report.kinds import Result
    from onnxrich.results.analysis import Analysis


def write(text: str, *, err: bool = False) -> None:
    """Print lines that hold names: neither can steer the terminal, and no line is longer than the longest notice."""
    for line in text.rstrip("\n").split("\n"):
        click.echo(fit_message(line, limit=LONGEST_NOTICE)[0], err=err)


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


def show(result: Result, *, as_json: bool) -> None:
    """Print a result: text for people, or one JSON document (a list of them for several analyses)."""
    from onnxrich.report import terminal
    from onnxrich.results.serialize import to_text

    if as_json:
        results = result if isinstance(result, Sequence) else [result]
        documents = [each.to_dict() for each in results]
        click.echo(to_text(documents if len(documents) > 1 else documents[0]), nl=False)
        return
    terminal_width = shutil.get_terminal_size((100, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = terminal.render(
        result,
        width=min(terminal_width, 120),
        color=sys.stdout is not None and sys.stdout.isatty(),
        ascii_only=not encoding.lower().startswith("utf"),
    )
    click.echo(text, nl=not text.endswith("\n"))


def show_profile(analysis: Analysis) -> None:
    """Print where the time went, on standard error: seconds and share of each stage."""
    seconds = analysis.record.runtime.profile
    total = sum(seconds.values()) or 1.0
    write(f"profile of {display(analysis.record.model.path)}", err=True)
    for stage, spent in seconds.items():
        click.echo(f"  {stage:<30} {spent:9.3f} s  {spent / total:4.0%}", err=True)
    if analysis.record.runtime.resumed < analysis.record.data.samples:
        reading, running = (seconds.get(stage, 0.0) for stage in (Stage.READING, Stage.RUNNING))
        click.echo(f"  reading against running: {bottleneck(reading / (reading + running or 1.0))}", err=True)


def list_written(paths: Sequence[Path]) -> None:
    """Print the paths that were written, on standard error; the page that people want to open comes last."""
    for path in sorted(paths, key=lambda path: path.name == "report.html"):
        write(f"wrote {display(str(path))}", err=True)
