"""Images of all formats and modes, damaged or lying about their size, decoded as a model takes them."""

from __future__ import annotations

import random
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fuzz.mutations import EDGES, mutate_bytes
from onnxrich.data.context import ImageSpec
from onnxrich.data.images.decode import MAX_PIXELS, UnreadableError, decode_image
from onnxrich.data.preprocessing.steps import Preprocessing

SUFFIX = ".image"
KINDS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "jpeg": ("L", "RGB", "CMYK"), "webp": ("RGB", "RGBA"),
    "bmp": ("1", "L", "P", "RGB"), "gif": ("L", "P", "RGB"), "ppm": ("1", "L", "RGB"),
    "tiff": ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "F"),
}  # fmt: skip
SPECS = (
    ImageSpec(), ImageSpec(channels=1), ImageSpec(channels=3), ImageSpec(channels=4),
    ImageSpec(Preprocessing(color="gray")), ImageSpec(Preprocessing(resize=8, crop=8)),
    ImageSpec(Preprocessing(resize=(5, 9), color="rgb")),
)  # fmt: skip


def seeds() -> list[bytes]:
    """A small image of each format and mode, and animations."""
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8))
    files = [_encode(_mode(pixels, mode), kind) for kind, modes in KINDS.items() for mode in modes]
    frames: dict[str, Any] = {"save_all": True, "append_images": [pixels.rotate(90)]}
    ways = [_encode(pixels, "tiff", compression=way) for way in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    return files + ways + [_encode(pixels, kind, **frames) for kind in ("gif", "webp", "png", "tiff")]


def _mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.arange(221, dtype=np.uint16).reshape(13, 17))
    if mode == "LAB":
        return Image.new("LAB", (17, 13))
    return image.convert("L").convert(mode) if mode in ("LA", "F") else image.convert(mode)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change bytes: mostly in the first hundred, where sizes and modes are."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, content)
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = rng.choice((1, 2, 4))
        at = rng.randrange(min(len(data), rng.choice((32, 100, 400))))
        data[at : at + size] = (rng.choice(EDGES) & (2 ** (8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))
    return bytes(data)


def check(path: Path) -> None:
    """An image is bytes of height × width × channels, or can't be read."""
    content = path.read_bytes()
    # Pillow's warnings of damaged metadata are for users of the library; the worker process keeps them to itself.
    warnings.filterwarnings("ignore", module="PIL")
    for spec in SPECS:
        try:
            pixels = decode_image(content, spec)
        except UnreadableError as error:
            assert len(str(error)) < 400
            continue
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4)
        assert spec.channels in (None, pixels.shape[2]) and pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
