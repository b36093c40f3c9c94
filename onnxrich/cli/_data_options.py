"""Options that say which data are read and how: shared by the commands that read data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from onnxrich.cli import _common

READING = ("limit", "shuffle", "balanced", "max_errors", "text", "tokenizer")
PREPROCESSING = ("color", "resize", "resample", "crop", "scale", "mean", "std", "layout")


_OPTIONS = (
    click.option(
        "--data", metavar="DATA",
        help="A file, a folder or a URL: .npz, .npy, idx, a folder of images …; KIND:DATA where its name doesn't say.",
    ),
    click.option(
        "--labels", metavar="NAME|FILE",
        help="Field of the data, or a file; `labels`, `label` or `y` is found by itself.",
    ),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read N rows at most."),
    click.option("--shuffle", is_flag=True, help="Draw the rows at random, by --seed."),
    click.option("--balanced", is_flag=True, help="Take the same number of rows of each class."),
    click.option(
        "--max-errors", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
        help="Leave out up to N items that can't be read.",
    ),
    click.option("--text", metavar="COLUMN", help="Column of texts, which --tokenizer turns into the inputs."),
    click.option("--tokenizer", metavar="FILE", help="The tokenizer.json that the model was trained with."),
    click.option("--resize", metavar="S|HxW", help="Scale images: the shorter side, or both."),
    click.option("--crop", metavar="S|HxW", help="Cut this out of the middle of images."),
    click.option(
        "--resample", type=click.Choice(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
        help="Filter of --resize; bilinear when left out.",
    ),
    click.option("--color", type=click.Choice(["rgb", "bgr", "gray"]), help="Order of colours that the model takes."),
    click.option("--scale", metavar="F", help="Multiply by F, such as 1/255; before --mean and --std."),
    click.option("--mean", metavar="M,…", help="Subtract, one number or one a channel."),
    click.option("--std", metavar="S,…", help="Divide by, one number or one a channel."),
    click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Where the model takes the channels of images."),
)  # fmt: skip


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, given to a command as `data`, `labels`, and the mappings `reading` and `preprocessing`."""

    @functools.wraps(command)
    def grouped(**options: Any) -> Any:
        from onnxrich.data.preprocessing.steps import Preprocessing

        reading, preprocessing = (
            {name: value for name in names if (value := options.pop(name)) is not None}
            for names in (READING, PREPROCESSING)
        )
        if ("text" in reading) != ("tokenizer" in reading):
            raise click.UsageError("--text COLUMN and --tokenizer FILE belong together: pass both, or none of them.")
        with _common.usage():
            preprocessing = Preprocessing.of(preprocessing).declared()
        return command(reading=reading, preprocessing=preprocessing, **options)

    for option in reversed(_OPTIONS):
        grouped = option(grouped)
    return grouped
