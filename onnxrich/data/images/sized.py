"""Images and the inputs that they are for: whether an input takes any, and what brings them to its size."""

from __future__ import annotations

from math import isqrt

import numpy as np

from onnxrich.data.images.layout import CHANNELS, Pixels, channels_of, layout_of
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.table import AnyArray, Field, Table, shown
from onnxrich.errors import DataError
from onnxrich.model.file import Input

# The side of the smallest image that a row of numbers is taken for.
SMALLEST = 8


def check_takes_images(table: Table, field: Field, entry: Input) -> None:
    """Check that an input can take the images of a field, before anything is asked about their scale and layout.

    Raises:
        DataError: when it can't, as with tokens and with few numbers a row; when it takes others than the first one.
    """
    shape = entry.shape
    if shape is None or len(shape) == 3:
        return
    if len(shape) == 4:
        if not any(not isinstance(shape[axis], int) or shape[axis] in CHANNELS for axis in (1, 3)):
            raise _takes_none(entry)
        return
    # Whole numbers of more than a byte are places in a table of tokens.
    tokens = entry.dtype is not None and entry.dtype.kind in "iu" and entry.dtype.itemsize > 1
    if len(shape) != 2 or tokens:
        raise _takes_none(entry)
    first = next(table.read([field.name], range(1), 1)).arrays[field.name][:1]
    size = shape[1]
    if not len(first) or not isinstance(size, int) or first[0].size == size:
        return
    remedy = _flat(size)
    if not remedy:
        raise _takes_none(entry)
    raise DataError(f"images of {shown(first.shape[1:])} for input {entry.name!r}", f"shape {shown(shape)}", remedy)


def _takes_none(entry: Input) -> DataError:
    return DataError(
        f"images for input {entry.name!r} of shape {shown(entry.shape or ())}, which takes none",
        "rows of numbers",
        "Pass an array or a table of these, or the model that the images are for.",
    )


def _flat(size: int) -> str:
    """What makes images of so many numbers, empty where no square image has as many."""
    for channels in CHANNELS:
        side = isqrt(size // channels)
        if side >= SMALLEST and channels * side**2 == size:
            return _sized(side, side, gray=channels == 1)
    return ""


def mending(pixels: Pixels, given: AnyArray, made: AnyArray) -> str:
    """What brings images to the shape of their input: layout comes before channels, and these before the size.

    Args:
        pixels: what was done to them.
        given: images before it.
        made: images after it.
    """
    entry, steps = pixels.entry, pixels.steps
    lies = layout_of(entry.shape or ())
    if steps.layout is not None and lies not in (None, steps.layout):
        where = "first" if lies == "NCHW" else "last"
        return f"The model takes the channels {where}: leave out --layout, or pass --layout {lies}."
    want, have = channels_of(entry, steps), None
    if made.ndim == 4:
        have = made.shape[1 if (steps.layout or lies) == "NCHW" else 3]
    images = pixels.decoded or (given.dtype == np.uint8 and given.ndim in (3, 4))
    if want is not None and have not in (None, want):
        return _channels(pixels, want, have, images=images)
    return _resizing(entry, steps) if images else ""


def _channels(pixels: Pixels, want: int, have: int | None, *, images: bool) -> str:
    color = pixels.steps.color
    if want == 1:
        return f"The model takes one channel: {'pass --color gray' if images else 'save gray images'}."
    if color == "gray" or (color is not None and pixels.decoded):
        return f"The model takes {want} channels: leave out --color {color}."
    repeated = ", such as these gray ones repeated" if have == 1 else ""
    return f"The model takes {want} channels: save images that have as many{repeated}."


def _resizing(entry: Input, steps: Preprocessing) -> str:
    """What brings images to the size of an input, as far as its shape says it."""
    shape = entry.shape or ()
    lies = steps.layout or layout_of(shape)
    sides = shape[1:3] if len(shape) == 3 or lies == "NHWC" else shape[2:4]
    height, width = sides if len(sides) == 2 else (None, None)
    if isinstance(height, int) and isinstance(width, int):
        return _sized(height, width)
    return "Pass --resize, --crop, --color and --layout as in training."


def _sized(height: int, width: int, *, gray: bool = False) -> str:
    options = f"--resize {height} --crop {height}" if height == width else f"--resize {height}x{width}"
    return f"Pass {options}{' --color gray' if gray else ''}, or what was done in training."
