"""The live line of progress on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from onnxrich.cli._live_line import live_line
from onnxrich.errors import printable
from onnxrich.progress import Listener, Progress


@contextlib.contextmanager
def progress_line(name: str = "") -> Iterator[Listener]:
    """A listener that draws one live line on standard error; silent when that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    named, gauge = TextColumn("{task.description}", markup=False), BarColumn()
    counted = (
        named, gauge, TaskProgressColumn(), TextColumn("{task.fields[status]}", markup=False), TimeRemainingColumn()
    )  # fmt: skip
    timed = (named, TimeElapsedColumn())
    console = Console(stderr=True)
    with Bar(*timed, console=console, transient=True) as bar:

        def listen(progress: Progress) -> None:
            line, status, gauge.bar_width = live_line(printable(name), progress, console.width)
            now: dict[str, Any] = {"total": progress.total, "completed": progress.rows, "status": status}
            bar.columns = counted if progress.rows else timed
            if bar.tasks and bar.tasks[0].fields["stage"] == progress.stage:
                bar.update(bar.tasks[0].id, description=line, **now)
                return
            for shown in bar.tasks:  # a new stage, whose clock begins anew
                bar.remove_task(shown.id)
            bar.add_task(line, stage=progress.stage, **now)

        listen(Progress("starting"))
        yield listen
