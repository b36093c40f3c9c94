"""Rows of numbers brought to what one input of the model takes: arrangement of images, scale, mean, std."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np

from onnxrich._utils.formatting import shape_text
from onnxrich.data.images.decode import ImageSpec, UnreadableError, stacked
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.table import AnyArray, Field, Table
from onnxrich.errors import DataError
from onnxrich.model.file import Input

# Numbers of channels by which the axis of channels is told: gray, colours, colours and transparency.
CHANNELS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class Pixels:
    """How the rows of one field become one input.

    Attributes:
        entry: the input.
        steps: what is done to them.
        decoded: whether the rows are images that were brought to size and colours as they were decoded.
    """

    entry: Input
    steps: Preprocessing
    decoded: bool

    def __call__(self, array: AnyArray) -> AnyArray:
        """The rows as the input takes them, but for the type of floats.

        Raises:
            DataError: when they can't be arranged, or means and deviations don't fit the channels.
        """
        if not self.decoded and not self._is_image(array):
            return self._scaled(array, self._channel_axis(array))
        images = self._shaped(self._channels_last(array))
        if self.steps.color == "bgr":
            # Transparency stays behind the colours.
            images = np.concatenate([images[..., 2::-1], images[..., 3:]], axis=-1)
        return self._arranged(self._scaled(images, images.ndim - 1))

    def _is_image(self, array: AnyArray) -> bool:
        """Whether the rows have to be arranged: they are bytes to be reshaped, or don't lie as the input takes them."""
        if array.ndim not in (3, 4):
            return False
        if self.steps.reshapes or self.steps.color is not None:
            return True
        shape = self.entry.shape
        fits = shape is None or (
            len(shape) == array.ndim
            and all(
                not isinstance(want, int) or want == have for want, have in zip(shape[1:], array.shape[1:], strict=True)
            )
        )
        lies = layout_of(array.shape)
        return not fits or (self.steps.layout is not None and lies is not None and lies != self.steps.layout)

    def _channels_last(self, array: AnyArray) -> AnyArray:
        if array.ndim == 3:
            return array[..., None]
        if self.decoded:
            return array
        lies = layout_of(array.shape) or self.steps.layout
        if lies is None:
            raise DataError(
                f"rows of shape {' × '.join(map(str, array.shape[1:]))} for input {self.entry.name!r}",
                "images with 1, 3 or 4 channels on their first or their last axis",
                "Transpose the array, and save it again.",
            )
        return np.moveaxis(array, 1, -1) if lies == "NCHW" else array

    def _shaped(self, images: AnyArray) -> AnyArray:
        if self.decoded or not self.steps.reshapes:
            return images
        if images.dtype != np.uint8:
            raise DataError(
                f"images of type {images.dtype} to be resized, cropped or made gray",
                "bytes (uint8)",
                "Save them as bytes, or do it before they are saved.",
            )
        look = ImageSpec(self.steps, None)
        try:
            return stacked([look.reshape(image) for image in images], f"input {self.entry.name!r}")
        except UnreadableError as error:
            raise DataError(f"input {self.entry.name!r}: {error}", "images that fit", "Check the data.") from error

    def _scaled(self, array: AnyArray, axis: int) -> AnyArray:
        """scale · x − mean, divided by std, in double; bytes by a table of their 256 values."""
        if not self.steps.changes_values or self.entry.dtype is None:
            return array
        channels = array.shape[axis]
        mean, std = (
            self._by_channel(values, channels) for values in (self.steps.mean or (0.0,), self.steps.std or (1.0,))
        )
        scale = 1.0 if self.steps.scale is None else self.steps.scale
        if array.dtype == np.uint8 and self.entry.dtype.kind == "f":
            table = (np.arange(256.0)[:, None] * scale - mean) / std
            table = table.astype(self.entry.dtype)
            if table.shape[1] == 1:
                return table[:, 0][array]
            return np.stack([table[:, at][np.take(array, at, axis)] for at in range(channels)], axis)
        along = tuple(-1 if at == axis else 1 for at in range(array.ndim))
        return (array.astype(np.float64) * scale - mean.reshape(along)) / std.reshape(along)

    def _by_channel(self, values: tuple[float, ...], channels: int) -> AnyArray:
        if len(values) not in (1, channels):
            raise DataError(
                f"mean or std of {len(values)} numbers for {channels} channels of input {self.entry.name!r}",
                "one number, or one for each channel",
                "Check --mean, --std and --layout.",
            )
        return np.asarray(values, dtype=np.float64)

    def _channel_axis(self, array: AnyArray) -> int:
        """The axis of channels of rows that lie as the input takes them: that of features where they are no images."""
        if array.ndim != 4:
            return array.ndim - 1
        per_channel = max(len(self.steps.mean or ()), len(self.steps.std or ())) > 1
        lies = self.steps.layout or layout_of(self.entry.shape or ()) or layout_of(array.shape)
        if lies is None and per_channel:
            raise self._unknown_layout()
        return 1 if lies == "NCHW" else 3

    def _arranged(self, images: AnyArray) -> AnyArray:
        """Images of shape (n, height, width, channels) as the input takes them."""
        rank = 4 if self.entry.shape is None else len(self.entry.shape)
        gray = images.shape[-1] == 1
        if rank == 3:
            return images[..., 0] if gray else images
        lies = self.steps.layout or layout_of(self.entry.shape or ())
        if lies is None and not (rank == 2 and gray):
            raise self._unknown_layout()
        images = np.moveaxis(images, -1, 1) if lies == "NCHW" else images
        return images.reshape(len(images), -1) if rank == 2 else images

    def _unknown_layout(self) -> DataError:
        shape = " × ".join("?" if size is None else str(size) for size in self.entry.shape or ()) or "unknown"
        return DataError(
            f"images for input {self.entry.name!r} of shape {shape}, which doesn't say where the channels are",
            "the layout that the model takes",
            "Pass --layout NCHW or --layout NHWC.",
        )


def layout_of(shape: tuple[Any, ...]) -> Literal["NCHW", "NHWC"] | None:
    """Where a shape of four axes has its channels, as far as it says."""
    if len(shape) != 4:
        return None
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    return None if first == last else "NCHW" if first else "NHWC"


def channels_of(entry: Input, steps: Preprocessing) -> int | None:
    """The number of channels that an input takes, where its shape says so."""
    shape = entry.shape or ()
    if len(shape) == 3:
        return 1
    lies = steps.layout or layout_of(shape)
    size = None if lies is None or len(shape) != 4 else shape[1 if lies == "NCHW" else 3]
    return size if isinstance(size, int) else None


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
    raise DataError(
        f"images of {shape_text(first.shape[1:])} for input {entry.name!r}", f"shape {shape_text(shape)}", remedy
    )


def _takes_none(entry: Input) -> DataError:
    return DataError(
        f"images for input {entry.name!r} of shape {shape_text(entry.shape or ())}, which takes none",
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


def shape_remedy(pixels: Pixels, given: AnyArray, made: AnyArray) -> str:
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
