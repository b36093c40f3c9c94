"""The same 1 000 images of Fashion-MNIST in every format give the same moments, to the bit."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sources.conftest import NAMES
from zoo_text import read_all, source_of

import onnxrich

Data = tuple[Any, Any]
SCALE = {"scale": 1 / 255}


def idx(path: Path, array: np.ndarray) -> bytes:
    """A file in MNIST's format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    content = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return content


def npz(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    np.savez_compressed(folder / "d.npz", x=images, labels=labels)
    return folder / "d.npz", None


def npy(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    np.save(folder / "d.npy", images[:, None])
    np.save(folder / "l.npy", labels)
    return folder / "d.npy", str(folder / "l.npy")


def idx_files(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    idx(folder / "t10k-images-idx3-ubyte", images)
    idx(folder / "t10k-labels-idx1-ubyte", labels)
    return folder / "t10k-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte"


def idx_gz(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    idx(folder / "t10k-images-idx3-ubyte.gz", images)
    idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    return folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"


def listed_images(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    (folder / "all").mkdir()
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label"])
        for at, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / f"all/{at:04}.png")
            rows.writerow([f"all/{at:04}.png", label])
    return f"images:{folder / 'list.csv'}", None


def iterable(_: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    def items() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(images), 37):
            yield {"x": images[start : start + 37], "labels": labels[start : start + 37]}

    return items(), None


FORMATS = [npz, npy, idx_files, idx_gz, listed_images, iterable]


@pytest.fixture(scope="session")
def reference(fashion: Any, network: Any) -> onnxrich.Analysis:
    """The analysis of the images as an array that was scaled by NumPy."""
    images, labels = fashion
    data = {"x": images[:, None].astype(np.float32) / np.float32(255), "labels": labels.astype(np.int64)}
    return onnxrich.run(network(), data, batch_size=100)


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_same_moments(
    make: Callable[..., Data], fashion: Any, network: Any, reference: onnxrich.Analysis, tmp_path: Path
) -> None:
    """Rows in the same order have the same moments to the bit, and the same fingerprint."""
    data, labels = make(tmp_path, *fashion)
    found = onnxrich.run(network(), data, labels, batch_size=100, preprocessing=SCALE)
    np.testing.assert_array_equal(found.moments.matrix, reference.moments.matrix)
    assert found.metrics == reference.metrics
    assert found.record.data.fingerprint == reference.record.data.fingerprint
    assert found.record.data.samples == len(fashion[0])
    assert found.record.data.preprocessing == SCALE | {"declared_by": {"scale": "options"}}


def test_classes_in_subfolders(fashion: Any, network: Any, reference: onnxrich.Analysis, tmp_path: Path) -> None:
    """In folders named by class the rows come in another order: the sums are the same up to rounding."""
    images, labels = fashion
    for at, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photos" / f"{label} {NAMES[label]}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    found = onnxrich.run(network(), tmp_path / "photos", batch_size=100, preprocessing=SCALE)
    assert found.record.data.fingerprint == reference.record.data.fingerprint
    assert found.record.data.class_names == tuple(f"{at} {name}" for at, name in enumerate(NAMES))
    # 1 000 terms a sum, in double, each term of the size of the whole: 1000 · 2⁻⁵³ of it at most; moments about shifts
    # that differ are the same to about that times the ratio of mean to deviation, below ten here.
    for name, value in reference.metrics.items():
        assert found.metrics[name] == (None if value is None else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize("shape", ["N,784", "N,28,28", "N,28,28,1", "N,1,28,28", "N,1,H,W"])
@pytest.mark.parametrize("make", [idx_files, listed_images], ids=lambda make: make.__name__)
def test_arranged_for_the_input(make: Any, shape: str, fashion: Any, network: Any, tmp_path: Path) -> None:
    """Gray images become what the input takes: a vector, a matrix, with one channel in front or behind."""
    data, labels = make(tmp_path, *fashion)
    source = source_of(network(f"float[{shape}] x"), data, labels, preprocessing=SCALE, reading={"limit": 50})
    rows, _ = read_all(source, 20)
    wanted = [int(size) if size.isdigit() else 28 for size in shape.split(",")[1:]]
    expected = (fashion[0][:50].astype(np.float32) / np.float32(255)).reshape(50, *wanted)
    np.testing.assert_array_equal(rows["x"], expected)


def test_bytes_for_bytes(fashion: Any, network: Any, tmp_path: Path) -> None:
    """A model that takes bytes gets them as they are."""
    data, labels = listed_images(tmp_path, *fashion)
    rows, _ = read_all(source_of(network("uint8[N,1,28,28] x"), data, labels), 100)
    np.testing.assert_array_equal(rows["x"][:, 0], fashion[0])
