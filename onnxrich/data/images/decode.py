"""Single images: decoded without trusting them, and brought to size and colours."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.optional import import_optional
from onnxrich.data.preprocessing.steps import RESAMPLINGS, Preprocessing
from onnxrich.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

AnyArray = NDArray[Any]

# Formats that are decoded: Pillow knows many more, each of which is code that an untrusted file could reach.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm", ".pnm"),
}  # fmt: skip
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Pixels above which a file that says so is not decoded: a few bytes can claim any number.
MOST_PIXELS = 2**26
# Pillow's modes of one channel of eight bits or less.
_GRAY = {"1", "L", "LA"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow's decoders raise for damaged files.
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


class UnreadableError(Exception):
    """An image that can't be decoded; the text is the reason."""


@dataclass(frozen=True)
class ImageSpec:
    """Size and colours that images are brought to.

    Attributes:
        steps: what was declared; its colours, sizes and filter count here.
        channels: channels that the model takes, None where it leaves them open.
    """

    steps: Preprocessing
    channels: int | None = None

    def decode(self, content: bytes) -> AnyArray:
        """The image of a file's bytes, uint8 of shape (height, width, channels).

        Raises:
            UnreadableError: when it is damaged, too large, of a format that is not read, or of other colours.
        """
        pillow = import_optional("PIL.Image", "images", "images")
        try:
            with pillow.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise UnreadableError(f"{image.width} × {image.height} pixels, more than {MOST_PIXELS:,}")
                return self._shaped(image)
        except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
            raise UnreadableError(f"more than {MOST_PIXELS:,} pixels") from error
        except _DAMAGED as error:
            reason = "no image" if isinstance(error, pillow.UnidentifiedImageError) else _line(error)
            raise UnreadableError(f"{reason}; read are whole {', '.join(FORMATS)} files") from error

    def reshape(self, array: AnyArray) -> AnyArray:
        """The same for pixels: uint8 of shape (height, width, channels)."""
        pillow = import_optional("PIL.Image", "images", "resizing")
        image = pillow.fromarray(np.ascontiguousarray(array if array.shape[-1] > 1 else array[..., 0]))
        return self._shaped(image)

    def _shaped(self, image: Image) -> AnyArray:
        image = self._colored(image)
        if self.steps.resize is not None:
            size = _size(image, self.steps.resize)
            if size[0] * size[1] > MOST_PIXELS:
                raise UnreadableError(f"{size[0]} × {size[1]} pixels after resizing, more than {MOST_PIXELS:,}")
            image = image.resize(size, RESAMPLINGS[self.steps.resample or "bilinear"])
        pixels = np.asarray(image)
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return pixels if self.steps.crop is None else _cropped(pixels, self.steps.crop)

    def _colored(self, image: Image) -> Image:
        if image.mode[0] in "IF":
            raise UnreadableError(f"pixels of mode {image.mode}, more than 8 bits each")
        if self.steps.color is not None:
            mode = "L" if self.steps.color == "gray" else "RGB"
        elif self.channels == 1 and image.mode not in _GRAY:
            raise UnreadableError(f"colours (mode {image.mode}) for a model of one channel: pass --color gray")
        else:
            mode = _MODES.get(self.channels or 0, "L" if image.mode in _GRAY else "RGB")
        return image if image.mode == mode else image.convert(mode)


def _size(image: Image, resize: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height after resizing; a single side is that of the shorter one, the other is cut to whole pixels."""
    if not isinstance(resize, int):
        height, width = resize
        return width, height
    short = min(image.width, image.height)
    return max(1, resize * image.width // short), max(1, resize * image.height // short)


def _cropped(pixels: AnyArray, crop: int | tuple[int, int]) -> AnyArray:
    height, width = (crop, crop) if isinstance(crop, int) else crop
    # Half pixels go where torchvision's CenterCrop puts them: to the even side.
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    if top < 0 or left < 0:
        raise UnreadableError(f"{pixels.shape[0]} × {pixels.shape[1]} pixels, less than the crop {height} × {width}")
    return pixels[top : top + height, left : left + width]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def stacked(images: list[Any], name: str) -> AnyArray:
    """Images of one size as an array of shape (n, height, width, channels).

    Raises:
        DataError: when their sizes differ.
    """
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        told = " and ".join(" × ".join(map(str, shape)) for shape in shapes[:2])
        raise DataError(
            f"{name} holds images of {told} (height × width × channels)",
            "images of one size and one number of channels",
            "Pass --resize and --crop as in training, and --color for colours.",
        )
    return np.stack(images)
