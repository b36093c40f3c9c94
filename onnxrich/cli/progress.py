"""The live line on standard error: name, stage, bar, and the numbers of a pass."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from onnxrich._utils.text import display
from onnxrich.progress import Listener, Progress

# Cells of the shortest bar, of the percentage and of the remaining time, with a gap before each column but the first.
_FIXED = 5 + len("100%") + len("10:00:00") + 4
# Cells of the elapsed time and of the gap before it.
_ELAPSED = len("10:00:00") + 1
# Fewest cells of a name that are worth showing.
_SHORTEST_NAME = 8


@contextlib.contextmanager
def progress_line(name: str = "") -> Iterator[Listener]:
    """Give a listener that draws one live line on standard error, or none where that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    import rich.progress
    from rich.console import Console
    from rich.table import Column

    text = rich.progress.TextColumn("{task.description}", markup=False)
    # The bar takes the cells that the texts leave.
    counted = (
        text, rich.progress.BarColumn(None, table_column=Column(ratio=1)), rich.progress.TaskProgressColumn(),
        rich.progress.TextColumn("{task.fields[numbers]}", markup=False), rich.progress.TimeRemainingColumn(),
    )  # fmt: skip
    timed = (text, rich.progress.TimeElapsedColumn())
    console = Console(stderr=True)
    with rich.progress.Progress(*timed, console=console, transient=True) as line:

        def listen(progress: Progress) -> None:
            description, numbers = fit(display(name), progress, console.width)
            line.columns, line.expand = (counted, True) if progress.rows else (timed, False)
            state: dict[str, Any] = {
                "description": description, "total": progress.total, "completed": progress.rows, "numbers": numbers
            }  # fmt: skip
            if line.tasks and line.tasks[0].fields["stage"] == progress.stage:
                line.update(line.tasks[0].id, **state)
                return
            for task in line.tasks:  # the clock of a new stage starts at 0
                line.remove_task(task.id)
            line.add_task(stage=progress.stage, **state)

        listen(Progress("starting"))
        yield listen


def fit(name: str, progress: Progress, width: int) -> tuple[str, str]:
    """Choose the longest name, stage and numbers that fit on a line.

    1. The name is cut on the left, down to eight cells: names of checkpoints differ at their ends.
    2. Then the numbers are shortened.
    3. Then the name is left out, and at last the stage.

    Returns:
        Name and stage, and the numbers.
    """
    from rich.cells import cell_len

    stage = display(progress.stage)
    forms = _numbers(progress) if progress.rows else [""]
    fixed = _FIXED if progress.rows else _ELAPSED
    for title in (name, ""):
        for numbers in forms:
            room = width - fixed - cell_len(f"{title and ' '}{stage}{numbers}")
            if room >= min(cell_len(title), _SHORTEST_NAME):
                return f"{_cut(title, room)} {stage}".strip(), numbers
    return "", forms[-1]


def _cut(name: str, cells: int) -> str:
    """Cut a name on the left."""
    from rich.cells import cell_len

    while cell_len(name) > cells:
        name = f"…{name[2:]}"
    return name


def _numbers(progress: Progress) -> list[str]:
    """Format rows, speed, running D_LR and bottleneck, from the longest form to the shortest."""
    d_lr = "" if progress.d_lr is None else f", D_LR {progress.d_lr:.4f}"
    limit = bottleneck(progress.waiting)
    exact = short = f"{d_lr}"
    if progress.rate:
        exact = f", {progress.rate:,.0f}/s{d_lr}, {limit}"
        short = f", {_rounded(progress.rate)}/s{d_lr}, {limit.partition(' ')[0]}"
    rows = _rounded(progress.rows)
    return [f"{progress.rows:,} rows{exact}", f"{rows} rows{short}", f"{rows}{short}".replace(",", "")]


def _rounded(count: float) -> str:
    """Format a number in two or three digits, such as 1.2M."""
    from rich.filesize import pick_unit_and_suffix

    # Rounded to three digits first, so that 999,999 is 1.0M and not 1000k.
    count = float(f"{count:.3g}")
    unit, suffix = pick_unit_and_suffix(int(count), ["", "k", "M", "G"], 1000)
    return f"{count / unit:.{int(1 < unit > count / 10)}f}{suffix}"


def bottleneck(waiting: float) -> str:
    """Name what limits the speed, from the share of the time in which the device waited for data."""
    return f"read-bound ({waiting:.0%} waiting)" if waiting > 0.5 else "compute-bound"
