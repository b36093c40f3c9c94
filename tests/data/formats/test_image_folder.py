"""Folders and lists of images: which files, in which order, with which labels, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo_text import build, read_all, refused, source_of

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
    source = source_of(MODEL, tmp_path / "d", tmp_path / "labels.npy", reading={"max_errors": 1})
    batches = list(source.batches(3))
    assert [batch.rows for batch in batches] == [2, 1]
    assert np.concatenate([batch.labels for batch in batches if batch.labels is not None]).tolist() == [5, 7, 8]


def test_listed(tmp_path: Path) -> None:
    """A CSV names files beside it, in its order, with labels in numbers or in words, or with none."""
    for value in range(3):
        save(tmp_path / f"all/{value}.png", value)
    for labels, numbers, names in (
        (["2", "0", "2"], [2, 0, 2], None),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        (["01", "1", "01"], [0, 1, 0], ("01", "1")),
    ):
        lines = [f"all/{value}.png,{label}" for value, label in zip((2, 0, 1), labels, strict=True)]
        (tmp_path / "list.csv").write_text("\n".join(["file,label", *lines]))
        assert read(f"images:{tmp_path}/list.csv") == ([2, 0, 1], numbers)
        assert source_of(MODEL, f"images:{tmp_path}/list.csv").class_names == names
    (tmp_path / "list.csv").write_text("file\nall/1.png\n")
    assert read(f"images:{tmp_path}/list.csv") == ([1], None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "name,label\na.png,1",
            "list.csv has the columns 'name', 'label'; needed: the columns file and label. Write `file,label` as",
        ),
        ("", "list.csv has no rows; needed: the columns file and label."),
        ("file,label\n../secret.png,1", "list.csv names '../secret.png'; needed: files in its own folder or below."),
        ("file,label\n/etc/passwd,1", "list.csv names '/etc/passwd'; needed: files in its own folder"),
        ("file,label\na/../../s.png,1", "list.csv names 'a/../../s.png'; needed: files in its own folder"),
        ("file,label\na\\..\\..\\s.png,1", "list.csv names"),
        ("file,label\ns3://bucket/a.png,1", "list.csv names 's3://bucket/a.png'; needed"),
        ("file,label\n,1", "list.csv names ''; needed"),
        ("file,label\na.png,1\nb.png", "list.csv has no label in line 3; needed: a label in each line."),
        ("file,label\na.png\nb.png,1", "list.csv has no label in line 2; needed: a label in each line."),
        ("file,label\na.png,0\nb.png,", "list.csv has no label in line 3; needed: a label in each line."),
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
