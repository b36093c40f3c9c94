"""Rows of numbers brought to what one input of the model takes: arrangement of images, scale, mean, std."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxrich.data.images.decode import Look, UnreadableError, stacked
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.table import AnyArray
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
        look = Look(self.steps, None)
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
