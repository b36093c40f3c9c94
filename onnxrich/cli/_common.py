"""What several commands share: options, the progress line, and how results are shown."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxrich.errors import printable
from onnxrich.progress import Listener, Progress

if TYPE_CHECKING:
    from onnxrich.results import Results

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Write analysis.json, moments.npz, report.html, figure.png and figure.svg there.",
)  # fmt: skip
force_option = click.option("--force", is_flag=True, help="Replace files that are there.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
in_process_option = click.option(
    "--in-process", is_flag=True, help="Work in this process, without protection: for debuggers and profilers."
)


@contextlib.contextmanager
def progress_line(name: str = "") -> Iterator[Listener]:
    """A listener that draws one live line on standard error; silent when that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(name), total=None, status="")

        def listen(progress: Progress) -> None:
            rate = f"{progress.rows:,} rows, {progress.rate:,.0f}/s" if progress.rows else ""
            running = f", D_LR {progress.d_lr:.4f}" if progress.d_lr is not None else ""
            bar.update(
                task,
                description=printable(f"{name} {progress.stage}".strip()),
                total=progress.total,
                completed=progress.rows,
                status=rate + running,
            )

        yield listen


def show(results: Sequence[Results], *, as_json: bool) -> None:
    """Results on standard output: the table for people, or one JSON document (a list of them for several)."""
    if as_json:
        # One document a model; several models make a list of them. ASCII alone suits every terminal and encoding.
        documents = [result.to_dict() for result in results]
        click.echo(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2, allow_nan=False))
        return
    from onnxrich.report import terminal

    terminal_width = shutil.get_terminal_size((100, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = terminal.render(
        results,
        width=min(terminal_width, 120),
        color=sys.stdout is not None and sys.stdout.isatty(),
        ascii_only=not encoding.lower().startswith("utf"),
    )
    click.echo(text, nl=not text.endswith("\n"))


def wrote(paths: Sequence[Path]) -> None:
    """Say on standard error what was written; the page that people want to open comes last."""
    for path in sorted(paths, key=lambda path: path.name == "report.html"):
        click.echo(f"wrote {printable(str(path))}", err=True)
