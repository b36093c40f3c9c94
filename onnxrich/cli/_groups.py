"""Groups of options that all commands share that run models over data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def _group(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


head_options = _group(
    click.option("--features", metavar="NAME", help="Take this tensor as the penultimate layer of every model."),
    click.option("--outputs", metavar="NAME", help="Take this tensor as the outputs of every model's last layer."),
    click.option("--head", type=click.IntRange(min=1), metavar="K", help="Which of several heads of every model."),
    click.option("--mask", metavar="NAME", help="Input that is 0 for tokens to leave out."),
)

pass_options = _group(
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Rows a run."),
    click.option(
        "--blocks", type=click.IntRange(min=0), metavar="N",
        help="Blocks of rows that error bars are computed from, at least 4; 16 by default, 0 or 1 for none.",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
        help="Of --shuffle, and of rows made up without data.",
    ),
)  # fmt: skip

init_option = click.option(
    "--init", type=click.Path(path_type=Path), metavar="MODEL",
    help="The model that training began from: adds S_init, how alike the features still are.",
)  # fmt: skip


def output_option(files: str) -> Callable[[Command], Command]:
    """--output, for a command that writes these files."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help=f"Write {files} there.")
