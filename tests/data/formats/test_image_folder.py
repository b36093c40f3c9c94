"""Folders and lists of images: which files, in which order, with which labels, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo_text import build, read_all, refused, source_of, within

from onnxrich.data.formats.image_folder import numbered
from onnxrich.data.images import pool as decoding
from onnxrich.errors import DataError

MODEL = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")


def save(path: Path, value: int) -> None:
    """A gray image of 2 × 2 equal pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), value).save(path, lossless=True) if path.suffix == ".webp" else Image.new(
        "L", (2, 2), value
    ).save(path)


def read(data: Any, size: int = 2, **options: Any) -> tuple[list[int], Any]:
    """The value of each image, and the labels."""
    rows, labels = read_all(source_of(MODEL, data, **options), size)
    return rows["x"][:, 0, 0, 0].tolist(), None if labels is None else labels.tolist()


def test_a_class_in_each_folder(tmp_path: Path) -> None:
    """Subfolders are classes in the order of their names, whatever lies deeper; other files are passed over."""
    for name, value in (("b/1.png", 1), ("a/2.png", 2), ("a/deep/3.png", 3), ("c/.hidden.png", 9), (".git/x.png", 9)):
        save(tmp_path / name, value)
    (tmp_path / "a/notes.txt").write_text("no image")
    source = source_of(MODEL, tmp_path)
    values, labels = read(tmp_path)
    assert sorted(zip(values, labels, strict=True)) == [(1, 1), (2, 0), (3, 0)]
    assert (source.n, source.classes, source.class_names) == (3, 2, ("a", "b"))


def test_classes_are_mixed(tmp_path: Path) -> None:
    """Images of classes come in an order that is as good as random, and the same wherever the folder lies."""
    for folder in ("here", "there"):
        for value in range(200):
            save(tmp_path / f"{folder}/{'ab'[value % 2]}/{value}.png", value)
    values, labels = read(tmp_path / "here")
    assert (values, labels) == read(tmp_path / "there")
    assert sorted(values) == list(range(200)) and labels == [value % 2 for value in values]
    # Neither class by class (one change) nor by turns (199): of 199 neighbours 99.5 ± 7 differ by chance.
    assert 64 < sum(a != b for a, b in pairwise(labels)) < 135


def test_no_classes(tmp_path: Path) -> None:
    """Images beside each other have no labels, and are read in the order of their names."""
    for name, value in (("10.png", 10), ("2.png", 2), ("1.PNG", 1)):
        save(tmp_path / name, value)
    assert read(tmp_path) == ([1, 10, 2], None)


def test_labels_from_a_file(tmp_path: Path) -> None:
    """Labels of images in one folder may come from another file, in the order of the names; skipped ones take theirs
    with them."""
    for value in range(4):
        save(tmp_path / f"d/{value}.png", value)
    np.save(tmp_path / "labels.npy", np.arange(4) + 5)
    assert read(tmp_path / "d", labels=tmp_path / "labels.npy") == ([0, 1, 2, 3], [5, 6, 7, 8])
    (tmp_path / "d/1.png").write_bytes(b"none")
    found = source_of(MODEL, tmp_path / "d", tmp_path / "labels.npy", reading={"max_errors": 1})
    batches = list(found.batches(3))
    assert [batch.rows for batch in batches] == [2, 1]
    assert np.concatenate([batch.labels for batch in batches if batch.labels is not None]).tolist() == [5, 7, 8]


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "webp", "tiff", "pgm"])
def test_lossless_formats(ending: str, tmp_path: Path) -> None:
    """Every lossless format gives the pixels that were saved."""
    save(tmp_path / f"0.{ending}", 77)
    model = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,C,2,2] x", y="float[N,C,2,2] h")
    rows, _ = read_all(source_of(model, tmp_path, preprocessing={"layout": "NCHW", "color": "gray"}), 2)
    assert rows["x"].tolist() == [[[[77, 77], [77, 77]]]]


@pytest.fixture(params=["here", "processes"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Images are decoded in this process, or by three others, however few they are."""
    if request.param == "processes":
        monkeypatch.setattr(decoding, "POOL_FROM", 0)
        monkeypatch.setattr(decoding, "usable_cores", lambda: 3)
    return str(request.param)


@pytest.mark.usefixtures("where")
def test_order_does_not_depend_on_processes(tmp_path: Path) -> None:
    """Images come in their order, whichever is decoded first."""
    for value in range(60):
        path = tmp_path / f"{value:03}.png"
        side = 400 if value % 7 == 0 else 2
        Image.new("L", (side, side), value).save(path)
    values, _ = read(tmp_path, 7, preprocessing={"resize": [2, 2]})
    assert values == list(range(60))


def test_listed(tmp_path: Path) -> None:
    """A CSV names files beside it, in its order, with labels in numbers or in words, or with none."""
    for value in range(3):
        save(tmp_path / f"all/{value}.png", value)
    for labels, found, names in (
        (["2", "0", "2"], [2, 0, 2], None),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (["01", "1", "01"], [0, 1, 0], ("01", "1")),
    ):
        lines = [f"all/{value}.png,{label}" for value, label in zip((2, 0, 1), labels, strict=True)]
        (tmp_path / "list.csv").write_text("\n".join(["file,label", *lines]))
        assert read(f"images:{tmp_path}/list.csv") == ([2, 0, 1], found)
        assert source_of(MODEL, f"images:{tmp_path}/list.csv").class_names == names
    (tmp_path / "list.csv").write_text("file\nall/1.png\n")
    assert read(f"images:{tmp_path}/list.csv") == ([1], None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "name,label\na.png,1",
            "list.csv with 'name', 'label'; needed: the columns file and label. Write `file,label` as",
        ),
        ("", "list.csv with no rows; needed: the columns file and label."),
        ("file,label\n../secret.png,1", "list.csv names '../secret.png'; needed: files in its own folder or below."),
        ("file,label\n/etc/passwd,1", "list.csv names '/etc/passwd'; needed: files in its own folder"),
        ("file,label\na/../../s.png,1", "list.csv names 'a/../../s.png'; needed: files in its own folder"),
        ("file,label\na\\..\\..\\s.png,1", "list.csv names"),
        ("file,label\ns3://bucket/a.png,1", "list.csv names 's3://bucket/a.png'; needed"),
        ("file,label\n,1", "list.csv names ''; needed"),
        ("file,label\na.png,1\nb.png", "list.csv: no label in line 3; needed: a label in each line."),
        ("file,label\na.png\nb.png,1", "list.csv: no label in line 2; needed: a label in each line."),
        ("file,label\na.png,0\nb.png,", "list.csv: no label in line 3; needed: a label in each line."),
        (b"\xff\xfe", "list.csv is no CSV file ('utf-8' codec can't decode"),
        ('file,label\n"a,1', "list.csv is no CSV file (unexpected end of data)"),
    ],
)
def test_lists_that_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    """A list that leads outside its folder, or is none, is refused."""
    path = tmp_path / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(DataError, message):
        source_of(MODEL, f"images:{path}")


def test_mixed_folder(tmp_path: Path) -> None:
    """Images both in subfolders and beside them say nothing clear about classes."""
    save(tmp_path / "a/1.png", 1)
    save(tmp_path / "2.png", 2)
    with refused(DataError, "holds images in subfolders, and '2.png' beside them; needed: a subfolder for each class"):
        source_of(MODEL, tmp_path)


def test_a_linked_class(tmp_path: Path) -> None:
    """A link to a folder is not followed, and a class is not left out without a word."""
    for kind in ("cat", "dog"):
        save(tmp_path / f"all/{kind}/1.png", 1)
    save(tmp_path / "some/cat/1.png", 1)
    (tmp_path / "some/dog").symlink_to(tmp_path / "all/dog")
    with refused(DataError, "some/dog is a link to a folder; needed: folders themselves. Put the folder itself"):
        source_of(MODEL, tmp_path / "some")


def test_no_images(tmp_path: Path) -> None:
    """A folder without images is refused with the endings that are read."""
    (tmp_path / "a.svg").write_text("<svg/>")
    with refused(DataError, "holds no images; needed: files that end in .jpg, .jpeg, .png"):
        source_of(MODEL, tmp_path)


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
    """Puts something in the place of an image that is none; gives the reason that is to be told."""
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
    made = {
        "empty": b"", "text": b"no image", "cut": content[: len(content) - 26], "bomb": bomb(30_000),
        "large": bomb(9_000),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n", "deep": b"",
    }  # fmt: skip
    path.write_bytes(made[kind])
    if kind == "deep":
        Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
        return "pixels of mode I;16, more than 8 bits each"
    told = {"bomb": "more than 67,108,864 pixels", "large": "9000 × 9000 pixels, more than 67,108,864", "cut": ""}
    return told.get(kind, "no image; read are whole JPEG, PNG, WEBP")


KINDS = ["missing", "fifo", "empty", "text", "cut", "bomb", "large", "eps", "deep"]


@pytest.mark.usefixtures("where")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_images(kind: str, tmp_path: Path) -> None:
    """What can't be decoded stops the run with its name and the reason; nothing hangs, and no memory is filled."""
    for value in range(3):
        save(tmp_path / f"a/{value}.png", value)
    reason = broken(kind, tmp_path / "a/1.png")
    with within(60), refused(DataError, "a/1.png: ", reason, "pass --max-errors N to leave out up to N."):
        read(tmp_path)


@pytest.mark.usefixtures("where")
def test_an_image_that_resizing_makes_huge(tmp_path: Path) -> None:
    """A file of some bytes can't ask for gigabytes by its shape."""
    (tmp_path / "a.png").write_bytes(thin())
    with refused(DataError, "a.png: 16711680 × 255 pixels after resizing, more than 67,108,864"):
        read(tmp_path, preprocessing={"resize": 255, "crop": 2})


@pytest.mark.usefixtures("where")
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
        (notice,) = source.ledger.notices()
        assert notice.code == "skipped_items"
        # In the order in which they are read, which is that of the hashes of the names.
        assert notice.message == "3 items could not be read and were left out: b/5.png, a/0.png, a/2.png."
    with refused(DataError, "a/2.png: image file is truncated", "(2 such allowed); needed: items that can be read."):
        list(source_of(MODEL, tmp_path, reading={"max_errors": 2}).batches(2))


@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        (["3", "0"], [3, 0], None), (["3", "x"], [0, 1], ("3", "x")), (["-1", "0"], [0, 1], ("-1", "0")),
        (["1.0", "0"], [1, 0], ("0", "1.0")), (["99999999999", "0"], [1, 0], ("0", "99999999999")),
        (["²", "1"], [1, 0], ("1", "²")),
    ],
)  # fmt: skip
def test_numbered(labels: list[str], values: list[int], names: Any) -> None:
    """Whole numbers are classes as they are; anything else is a name."""
    found, classes = numbered(labels)
    assert (found.tolist(), classes) == (values, names)


def test_processes_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that decode end with the pass, also with one that is given up half way."""
    monkeypatch.setattr(decoding, "POOL_FROM", 0)
    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)
    for value in range(100):
        save(tmp_path / f"{value:03}.png", value)
    started: list[Any] = []
    begin = decoding._Pool._started

    def counted(pool: Any) -> Any:
        started.append(begin(pool))
        return started[-1]

    monkeypatch.setattr(decoding._Pool, "_started", counted)
    source = source_of(MODEL, tmp_path)
    assert len(list(source.batches(30))) == 4
    batches = source.batches(10)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert 2 <= len(started) <= 4
    assert all(process.poll() is not None for process in started)


def test_a_process_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image on which a decoder crashes ends the run with the names among which it is."""
    monkeypatch.setattr(decoding, "POOL_FROM", 0)
    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)
    for value in range(3):
        save(tmp_path / f"{value}.png", value)
    begin = decoding._Pool._started

    def killed(pool: Any) -> Any:
        process = begin(pool)
        process.kill()
        return process

    monkeypatch.setattr(decoding._Pool, "_started", killed)
    with (
        within(20),
        refused(DataError, "the process that decodes images ended (exit code -9) at one of 0.png … 1.png; "),
    ):
        read(tmp_path)
