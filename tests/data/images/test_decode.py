"""Decoding of single images: formats, colours, and reasons why one can't be decoded."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from zoo_text import build, read_all, source_of

from onnxrich import Preprocessing
from onnxrich.data.context import ImageSpec
from onnxrich.data.images.decode import UnreadableError, decode_image


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "webp", "tiff", "pgm"])
def test_lossless_formats(ending: str, tmp_path: Path) -> None:
    """Every lossless format gives the pixels that were saved."""
    Image.new("L", (2, 2), 77).save(tmp_path / f"0.{ending}", lossless=True)
    model = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,C,2,2] x", y="float[N,C,2,2] h")
    rows, _ = read_all(source_of(model, tmp_path, preprocessing={"layout": "NCHW", "color": "gray"}), 2)
    assert rows["x"].tolist() == [[[[77, 77], [77, 77]]]]


def png(mode: str, size: tuple[int, int] = (3, 2)) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "channels", "shape"),
    [("L", None, 1), ("LA", None, 1), ("1", None, 1), ("RGB", None, 3), ("P", None, 3), ("L", 3, 3), ("RGB", 4, 4)],
)
def test_channels(mode: str, channels: int | None, shape: int) -> None:
    """An image has the channels that the model takes, or those that its colours need."""
    pixels = decode_image(png(mode), ImageSpec(channels=channels))
    assert (pixels.shape, pixels.dtype) == ((2, 3, shape), np.uint8)


@pytest.mark.parametrize(
    ("content", "spec", "reason"),
    [
        (png("I;16"), ImageSpec(), "pixels of mode I;16, more than 8 bits each"),
        (png("RGB"), ImageSpec(channels=1), "for a model of one channel: pass --color gray"),
        (png("L"), ImageSpec(Preprocessing(crop=3)), "2 × 3 pixels, less than the crop 3 × 3"),
        (b"GIF89a", ImageSpec(), "read are whole JPEG, PNG, WEBP"),
    ],
)
def test_unreadable(content: bytes, spec: ImageSpec, reason: str) -> None:
    """The reason says why an image can't be decoded."""
    with pytest.raises(UnreadableError, match=re.escape(reason)):
        decode_image(content, spec)
