"""What the live line says: name, stage and numbers, in the longest form that a terminal takes."""

from __future__ import annotations

from onnxrich.errors import printable
from onnxrich.progress import Progress

# Cells that percentage, remaining time and the gaps between columns take, or the elapsed time alone; and what is worth
# showing of a name.
_COUNTED, _TIMED, _NAME = len("100%") + len("10:00:00") + 4, len("10:00:00") + 1, 8


def live_line(name: str, progress: Progress, width: int) -> tuple[str, str, int]:
    """Name and stage, numbers, and cells of the bar: the longest form that a console of this width takes."""
    from rich.cells import cell_len

    stage, brief = printable(progress.stage), _status(progress, short=True, share=False)
    terse = brief.replace(" rows", "").replace(",", "")
    forms = [
        (stage, _status(progress), 10), (stage, _status(progress, short=True), 10), (stage, brief, 10),
        (stage, brief, 5), (stage, terse, 5), ("", terse, 5),
    ] if progress.rows else [(stage, "", 0)]  # fmt: skip
    fixed = _COUNTED if progress.rows else _TIMED
    rooms = [width - fixed - cell_len(stage) - 1 - len(status) - bar for stage, status, bar in forms]
    # A name is cut before a form is given up for a shorter one, and left out, with its gap, before the stage is.
    at = next((at for at, room in enumerate(rooms) if forms[at][0] and room >= min(cell_len(name), _NAME)), None)
    if at is None:
        name, at = "", next((at for at, room in enumerate(rooms) if room >= -1), len(forms) - 1)
    while name and cell_len(name) > rooms[at]:
        name = f"…{name[2:]}"
    stage, status, bar = forms[at]
    return f"{name} {stage}".strip(), status, bar


def _status(progress: Progress, *, short: bool = False, share: bool = True) -> str:
    """How many rows, and of a pass how fast, D_LR so far, and what holds it up."""
    number = _rounded if short else "{:,.0f}".format
    parts = [f"{number(progress.rows)} rows"]
    if progress.rate:
        parts.append(f"{number(progress.rate)}/s")
    if progress.d_lr is not None:
        parts.append(f"D_LR {progress.d_lr:.4f}")
    if progress.rate:
        told = bottleneck(progress.waiting)
        parts.append(told if share else told.partition(" ")[0])
    return ", ".join(parts)


def _rounded(count: float) -> str:
    """A number in two or three digits, such as 1.2M."""
    from rich.filesize import pick_unit_and_suffix

    # Rounded to three digits before, so that 999,999 is 1M and not 1000k.
    count = float(f"{count:.3g}")
    unit, suffix = pick_unit_and_suffix(int(count), ["", "k", "M", "G"], 1000)
    return f"{count / unit:.{int(1 < unit > count / 10)}f}{suffix}"


def bottleneck(waiting: float) -> str:
    """What a faster run would need, from the share of the time in which the device waited for data."""
    return f"read-bound ({waiting:.0%} waiting)" if waiting > 0.5 else "compute-bound"
