"""Rows of pixels and other numbers as one input takes them: layout of images, scale, mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np

from onnxrich._utils.formatting import shape_text
from onnxrich.data.context import ImageSpec
from onnxrich.data.images.decode import UnreadableError, stack_images, transform_pixels
from onnxrich.data.preprocessing.steps import CHANNELS, Preprocessing, channels_of, layout_of
from onnxrich.data.table import AnyArray, Field, Table
from onnxrich.errors import DataError
from onnxrich.model.file import Input

# Side of the smallest square image that a row of numbers may be.
SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class Pixels:
    """How the rows of one field become one input.

    Attributes:
        entry: the input.
        steps: steps to apply.
        decoded: whether the rows are images that got their size and colours when they were decoded.
    """

    entry: Input
    steps: Preprocessing
    decoded: bool

    def __call__(self, array: AnyArray) -> AnyArray:
        """Return the rows as the input takes them, except for the type of floats.

        Raises:
            DataError: when the layout is unknown, or means and deviations don't match the channels.
        """
        if not self.decoded and not self._needs_arranging(array):
            return self._scale(array, self._channel_axis(array))
        images = self._transform(self._move_channels_last(array))
        if self.steps.color == "bgr":
            # Transparency stays behind the colours.
            images = np.concatenate([images[..., 2::-1], images[..., 3:]], axis=-1)
        return self._arrange(self._scale(images, images.ndim - 1))

    def _needs_arranging(self, array: AnyArray) -> bool:
        """Tell whether rows are images to be resized or recoloured, or in another layout than the input's."""
        if array.ndim not in (3, 4):
            return False
        if self.steps.reshapes or self.steps.color is not None:
            return True
        shape = self.entry.shape
        fits = shape is None or (
            len(shape) == array.ndim
            and all(
                not isinstance(needed, int) or needed == size
                for needed, size in zip(shape[1:], array.shape[1:], strict=True)
            )
        )
        layout = layout_of(array.shape)
        return not fits or (self.steps.layout is not None and layout is not None and layout != self.steps.layout)

    def _move_channels_last(self, array: AnyArray) -> AnyArray:
        if array.ndim == 3:
            return array[..., None]
        if self.decoded:
            return array
        layout = layout_of(array.shape) or self.steps.layout
        if layout is None:
            raise DataError(
                f"input {self.entry.name!r} gets rows of shape {' × '.join(map(str, array.shape[1:]))}",
                "images with 1, 3 or 4 channels on their first or their last axis",
                "Transpose the array, and save it again.",
            )
        return np.moveaxis(array, 1, -1) if layout == "NCHW" else array

    def _transform(self, images: AnyArray) -> AnyArray:
        if self.decoded or not self.steps.reshapes:
            return images
        if images.dtype != np.uint8:
            raise DataError(
                f"images of type {images.dtype} can't be resized, cropped or made gray",
                "bytes (uint8)",
                "Save them as bytes, or do it before they are saved.",
            )
        spec = ImageSpec(self.steps)
        try:
            return stack_images([transform_pixels(image, spec) for image in images], f"input {self.entry.name!r}")
        except UnreadableError as error:
            raise DataError(f"input {self.entry.name!r}: {error}", "images that fit", "Check the data.") from error

    def _scale(self, array: AnyArray, axis: int) -> AnyArray:
        """Return (scale · x − mean) / std in float64; for bytes, look it up in a table of their 256 values."""
        if not self.steps.changes_values or self.entry.dtype is None:
            return array
        channels = array.shape[axis]
        mean, std = (
            self._per_channel(values, channels) for values in (self.steps.mean or (0.0,), self.steps.std or (1.0,))
        )
        scale = 1.0 if self.steps.scale is None else self.steps.scale
        if array.dtype == np.uint8 and self.entry.dtype.kind == "f":
            table = (np.arange(256.0)[:, None] * scale - mean) / std
            with np.errstate(over="ignore"):
                table = table.astype(self.entry.dtype)
            if table.shape[1] == 1:
                return table[:, 0][array]
            return np.stack([table[:, at][np.take(array, at, axis)] for at in range(channels)], axis)
        broadcast = tuple(-1 if at == axis else 1 for at in range(array.ndim))
        return (array.astype(np.float64) * scale - mean.reshape(broadcast)) / std.reshape(broadcast)

    def _per_channel(self, values: tuple[float, ...], channels: int) -> AnyArray:
        if len(values) not in (1, channels):
            raise DataError(
                f"mean or std has {len(values)} numbers for {channels} channels of input {self.entry.name!r}",
                "one number, or one for each channel",
                "Check --mean, --std and --layout.",
            )
        return np.asarray(values, dtype=np.float64)

    def _channel_axis(self, array: AnyArray) -> int:
        """Return the axis of channels of rows in the input's layout, which is that of features for other rows."""
        if array.ndim != 4:
            return array.ndim - 1
        per_channel = max(len(self.steps.mean or ()), len(self.steps.std or ())) > 1
        layout = self.steps.layout or layout_of(self.entry.shape or ()) or layout_of(array.shape)
        if layout is None and per_channel:
            raise self._unknown_layout()
        return 1 if layout == "NCHW" else 3

    def _arrange(self, images: AnyArray) -> AnyArray:
        """Bring images of shape (n, height, width, channels) into the input's layout."""
        rank = 4 if self.entry.shape is None else len(self.entry.shape)
        gray = images.shape[-1] == 1
        if rank == 3:
            return images[..., 0] if gray else images
        layout = self.steps.layout or layout_of(self.entry.shape or ())
        if layout is None and not (rank == 2 and gray):
            raise self._unknown_layout()
        images = np.moveaxis(images, -1, 1) if layout == "NCHW" else images
        return images.reshape(len(images), -1) if rank == 2 else images

    def _unknown_layout(self) -> DataError:
        shape = " × ".join("?" if size is None else str(size) for size in self.entry.shape or ()) or "unknown"
        return DataError(
            f"input {self.entry.name!r} of shape {shape} doesn't say where its channels are",
            "the layout that the model takes",
            "Pass --layout NCHW or --layout NHWC.",
        )

    def shape_remedy(self, before: AnyArray, after: AnyArray) -> str:
        """Say what brings images to the input's shape: first the layout, then the channels, then the size.

        Args:
            before: images before the steps.
            after: images after the steps.

        Returns:
            The remedy for a message, empty for rows that are no images.
        """
        entry, steps = self.entry, self.steps
        layout = layout_of(entry.shape or ())
        if steps.layout is not None and layout not in (None, steps.layout):
            where = "first" if layout == "NCHW" else "last"
            return f"The model takes the channels {where}: leave out --layout, or pass --layout {layout}."
        needed, actual = channels_of(entry.shape or (), steps), None
        if after.ndim == 4:
            actual = after.shape[1 if (steps.layout or layout) == "NCHW" else 3]
        images = self.decoded or (before.dtype == np.uint8 and before.ndim in (3, 4))
        if needed is not None and actual not in (None, needed):
            return self._channel_remedy(needed, actual, images=images)
        return _size_remedy(entry, steps) if images else ""

    def _channel_remedy(self, needed: int, actual: int | None, *, images: bool) -> str:
        color = self.steps.color
        if needed == 1:
            return f"The model takes one channel: {'pass --color gray' if images else 'save gray images'}."
        if color == "gray" or (color is not None and self.decoded):
            return f"The model takes {needed} channels: leave out --color {color}."
        repeated = ", such as these gray ones repeated" if actual == 1 else ""
        return f"The model takes {needed} channels: save images that have as many{repeated}."


def check_takes_images(table: Table, field: Field, entry: Input) -> None:
    """Check that an input can take the images of a field, before their scale and layout are asked for.

    Raises:
        DataError: when it takes tokens or a few numbers a row, or images of another size than the first one.
    """
    shape = entry.shape
    if shape is None or len(shape) == 3:
        return
    if len(shape) == 4:
        if not any(not isinstance(shape[axis], int) or shape[axis] in CHANNELS for axis in (1, 3)):
            raise _takes_no_images(entry)
        return
    # Integers larger than a byte are indices of tokens.
    tokens = entry.dtype is not None and entry.dtype.kind in "iu" and entry.dtype.itemsize > 1
    if len(shape) != 2 or tokens:
        raise _takes_no_images(entry)
    first = next(table.read([field.name], range(1), 1)).arrays[field.name][:1]
    size = shape[1]
    if not len(first) or not isinstance(size, int) or first[0].size == size:
        return
    remedy = _flat_size_remedy(size)
    if not remedy:
        raise _takes_no_images(entry)
    raise DataError(
        f"input {entry.name!r} gets images of {shape_text(first.shape[1:])}", f"shape {shape_text(shape)}", remedy
    )


def _takes_no_images(entry: Input) -> DataError:
    return DataError(
        f"input {entry.name!r} of shape {shape_text(entry.shape or ())} takes no images",
        "rows of numbers",
        "Pass an array or a table of these, or the model that the images are for.",
    )


def _flat_size_remedy(size: int) -> str:
    """Say what makes square images with so many numbers, empty where no square image has as many."""
    for channels in CHANNELS:
        side = isqrt(size // channels)
        if side >= SMALLEST_SIDE and channels * side**2 == size:
            return _resize_remedy(side, side, gray=channels == 1)
    return ""


def _size_remedy(entry: Input, steps: Preprocessing) -> str:
    """Say what brings images to the size of an input, as far as its shape is known."""
    shape = entry.shape or ()
    layout = steps.layout or layout_of(shape)
    sides = shape[1:3] if len(shape) == 3 or layout == "NHWC" else shape[2:4]
    height, width = sides if len(sides) == 2 else (None, None)
    if isinstance(height, int) and isinstance(width, int):
        return _resize_remedy(height, width)
    return "Pass --resize, --crop, --color and --layout as in training."


def _resize_remedy(height: int, width: int, *, gray: bool = False) -> str:
    options = f"--resize {height} --crop {height}" if height == width else f"--resize {height}x{width}"
    return f"Pass {options}{' --color gray' if gray else ''}, or the steps of the training."
