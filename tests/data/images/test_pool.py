"""Decoding of images by threads: their order, and what can't be decoded."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo_text import build, read_all, refused, source_of, within

from onnxrich.data.images import pool
from onnxrich.errors import DataError

MODEL = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")


def save(path: Path, value: int) -> None:
    """Save a gray image of 2 × 2 equal pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), value).save(path, lossless=True)


def read(data: Any, size: int = 2, **options: Any) -> list[int]:
    """Return the value of each image."""
    rows, _ = read_all(source_of(MODEL, data, **options), size)
    values: list[int] = rows["x"][:, 0, 0, 0].tolist()
    return values


@pytest.fixture(params=[1, 3])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Images are decoded by one thread, or by three."""
    monkeypatch.setattr(pool, "usable_cores", lambda: request.param)
    return int(request.param)


@pytest.mark.usefixtures("cores")
def test_order_does_not_depend_on_threads(tmp_path: Path) -> None:
    """Images come in their order, whichever is decoded first."""
    for value in range(60):
        side = 400 if value % 7 == 0 else 2
        Image.new("L", (side, side), value).save(tmp_path / f"{value:03}.png")
    assert read(tmp_path, 7, preprocessing={"resize": [2, 2]}) == list(range(60))


def test_threads_end(tmp_path: Path) -> None:
    """The threads end with the pass, also with one that is given up half way or refused."""

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("onnxrich-images")]

    for value in range(100):
        save(tmp_path / f"{value:03}.png", value)
    source = source_of(MODEL, tmp_path)
    assert len(list(source.batches(30))) == 4
    assert threads() == []
    batches = source.batches(10)
    next(batches)
    assert threads()
    batches.close()  # type: ignore[attr-defined]
    assert threads() == []
    (tmp_path / "050.png").write_bytes(b"no image")
    with refused(DataError, "050.png: no image"):
        list(source.batches(10))
    assert threads() == []


def bomb(side: int) -> bytes:
    """A PNG of some bytes that says it has many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = zlib.compress(b"\0" * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def thin() -> bytes:
    """A PNG of some bytes, whose long side grows to 16 million pixels when the short one is made 255."""
    file = io.BytesIO()
    Image.new("L", (2**16, 1)).save(file, "png")
    return file.getvalue()


def broken(kind: str, path: Path) -> str:
    """Replace an image by something else; return the reason that the message must hold."""
    save(path, 5)
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
        path.symlink_to("nowhere.png")
        return "No such file or directory"
    if kind == "fifo":
        path.unlink()
        os.mkfifo(path)
        return "is no regular file"
    contents = {
        "empty": b"", "text": b"no image", "cut": content[: len(content) - 26], "bomb": bomb(30_000),
        "large": bomb(9_000),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n", "deep": b"",
    }  # fmt: skip
    path.write_bytes(contents[kind])
    if kind == "deep":
        Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
        return "pixels of mode I;16, more than 8 bits each"
    reasons = {"bomb": "more than 67,108,864 pixels", "large": "9000 × 9000 pixels, more than 67,108,864", "cut": ""}
    return reasons.get(kind, "no image; read are whole JPEG, PNG, WEBP")


KINDS = ["missing", "fifo", "empty", "text", "cut", "bomb", "large", "eps", "deep"]


@pytest.mark.usefixtures("cores")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_images(kind: str, tmp_path: Path) -> None:
    """What can't be decoded stops the run with its name and the reason; nothing hangs, and no memory is filled."""
    for value in range(3):
        save(tmp_path / f"a/{value}.png", value)
    reason = broken(kind, tmp_path / "a/1.png")
    with within(60), refused(DataError, "a/1.png: ", reason, "pass --max-errors N to leave out up to N."):
        read(tmp_path)


@pytest.mark.usefixtures("cores")
def test_an_image_that_resizing_makes_huge(tmp_path: Path) -> None:
    """A file of some bytes can't ask for gigabytes by its shape."""
    (tmp_path / "a.png").write_bytes(thin())
    with refused(DataError, "a.png: 16711680 × 255 pixels after resizing, more than 67,108,864"):
        read(tmp_path, preprocessing={"resize": 255, "crop": 2})


@pytest.mark.usefixtures("cores")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unreadable_images_left_out(tmp_path: Path) -> None:
    """Up to the limit they are left out, counted and named; rows and labels stay together; a batch may be empty."""
    for value in range(9):
        save(tmp_path / f"{'ab'[value % 2]}/{value}.png", value)
    for kind, value in (("text", 0), ("cut", 2), ("fifo", 5)):
        broken(kind, tmp_path / f"{'ab'[value % 2]}/{value}.png")
    source = source_of(MODEL, tmp_path, reading={"max_errors": 3})
    for _ in range(2):
        batches = list(source.batches(2))
        values = np.concatenate([batch.inputs["x"][:, 0, 0, 0] for batch in batches])
        labels = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
        assert sorted(values) == [1, 3, 4, 6, 7, 8]
        assert labels.tolist() == [value % 2 for value in values]
        (notice,) = source.skipped.notices()
        assert notice.code == "skipped_items"
        # In the order in which they are read, which is that of the hashes of the names.
        assert notice.message == "3 items could not be read and were left out: b/5.png, a/0.png, a/2.png."
    with refused(
        DataError, "a/2.png: image file is truncated", "(--max-errors allows 2); needed: items that can be read."
    ):
        list(source_of(MODEL, tmp_path, reading={"max_errors": 2}).batches(2))
