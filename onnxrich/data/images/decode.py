"""Decoding of single images without trusting them, and their resizing, cropping and conversion of colours."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import ImageSpec
from onnxrich.data.paths import first_line
from onnxrich.data.preprocessing.steps import RESAMPLINGS
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats that are decoded: Pillow knows many more, each of which is code that an untrusted file could reach.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm", ".pnm"),
}  # fmt: skip
ENDINGS = tuple(ending for endings in FORMATS.values() for ending in endings)
# Pixels of the largest image that is decoded: a file of a few bytes can claim any number.
MAX_PIXELS = 2**26
# Pillow's modes of one channel of eight bits or less.
_GRAY = {"1", "L", "LA"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow's decoders raise for damaged files.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


class UnreadableError(Exception):
    """An image can't be decoded; the text is the reason."""


def decode_image(content: bytes, spec: ImageSpec) -> AnyArray:
    """Decode the bytes of a file into an image, uint8 of shape (height, width, channels).

    Raises:
        UnreadableError: when it is damaged or too large, or has a format or colours that are not read.
    """
    pillow = import_optional("PIL.Image", "images", "images")
    try:
        with pillow.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableError(f"{image.width} × {image.height} pixels, more than {MAX_PIXELS:,}")
            return _transform(image, spec)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise UnreadableError(f"more than {MAX_PIXELS:,} pixels") from error
    except _DAMAGED as error:
        reason = "no image" if isinstance(error, pillow.UnidentifiedImageError) else first_line(error)
        raise UnreadableError(f"{reason}; read are whole {', '.join(FORMATS)} files") from error


def transform_pixels(pixels: AnyArray, spec: ImageSpec) -> AnyArray:
    """Bring pixels, uint8 of shape (height, width, channels), to size and colours.

    Raises:
        UnreadableError: when the result is too large, or the crop larger than the image.
    """
    pillow = import_optional("PIL.Image", "images", "resizing")
    image = pillow.fromarray(np.ascontiguousarray(pixels if pixels.shape[-1] > 1 else pixels[..., 0]))
    return _transform(image, spec)


def _transform(image: Image, spec: ImageSpec) -> AnyArray:
    image = _convert_colors(image, spec)
    if spec.steps.resize is not None:
        width, height = _resized_size(image, spec.steps.resize)
        if width * height > MAX_PIXELS:
            raise UnreadableError(f"{width} × {height} pixels after resizing, more than {MAX_PIXELS:,}")
        image = image.resize((width, height), RESAMPLINGS[spec.steps.resample or "bilinear"])
    pixels = np.asarray(image)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels if spec.steps.crop is None else _crop(pixels, spec.steps.crop)


def _convert_colors(image: Image, spec: ImageSpec) -> Image:
    if image.mode[0] in "IF":
        raise UnreadableError(f"pixels of mode {image.mode}, more than 8 bits each")
    if spec.steps.color is not None:
        mode = "L" if spec.steps.color == "gray" else "RGB"
    elif spec.channels == 1 and image.mode not in _GRAY:
        raise UnreadableError(f"colours (mode {image.mode}) for a model of one channel: pass --color gray")
    else:
        mode = _MODES.get(spec.channels or 0, "L" if image.mode in _GRAY else "RGB")
    return image if image.mode == mode else image.convert(mode)


def _resized_size(image: Image, resize: int | tuple[int, int]) -> tuple[int, int]:
    """Return width and height after resizing.

    A single side is that of the shorter one; the other is truncated to whole pixels.
    """
    if not isinstance(resize, int):
        height, width = resize
        return width, height
    short = min(image.width, image.height)
    return max(1, resize * image.width // short), max(1, resize * image.height // short)


def _crop(pixels: AnyArray, crop: int | tuple[int, int]) -> AnyArray:
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise UnreadableError(f"{pixels.shape[0]} × {pixels.shape[1]} pixels, less than the crop {height} × {width}")
    # Half pixels are rounded to even, as torchvision's CenterCrop rounds them.
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def stack_images(images: Sequence[AnyArray], name: str) -> AnyArray:
    """Stack images of one size into an array of shape (n, height, width, channels).

    Raises:
        DataError: when their sizes differ.
    """
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        sizes = " and ".join(" × ".join(map(str, shape)) for shape in shapes[:2])
        raise DataError(
            f"{name} holds images of {sizes} (height × width × channels)",
            "images of one size and one number of channels",
            "Pass --resize and --crop as in training, and --color for colours.",
        )
    return np.stack(images)
