"""The same 1 000 images of Fashion-MNIST in every format give the same moments, to the bit."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from data.conftest import NAMES
from data.formats.files import LABELS, MAKERS, X
from PIL import Image
from zoo_text import read_all, refused, source_of, two_layers, within

import onnxrich
from onnxrich.data.formats import registry
from onnxrich.errors import DataError

Data = tuple[Any, Any]
SCALE = {"scale": 1 / 255}
FEATURES = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}


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


def png(image: np.ndarray) -> bytes:
    """An image as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def parquet_images(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    """Images and class labels as Hugging Face's libraries write them."""
    rows = {"image": [{"bytes": png(image), "path": None} for image in images], "label": labels.astype(np.int64)}
    table = pa.table(rows).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    pq.write_table(table, folder / "d.parquet", row_group_size=300)
    return folder / "d.parquet", None


def parquet_lists(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    pq.write_table(
        pa.table({"x": pa.array(images.tolist(), pa.list_(pa.list_(pa.uint8()))), "y": labels}), folder / "d.parquet"
    )
    return f"parquet:{folder / 'd.parquet'}", "y"


def parquet_folder(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    (folder / "parts").mkdir()
    for at in range(0, len(images), 400):
        cut = slice(at, at + 400)
        table = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(images[cut]), "labels": labels[cut]})
        pq.write_table(table, folder / f"parts/{at:04}.parquet", row_group_size=123)
    return folder / "parts", None


def arrow_file(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    flat = pa.FixedSizeListArray.from_arrays(images.reshape(-1), 784)
    table = pa.table({"x": flat, "labels": labels})
    with pa.ipc.new_file(folder / "d.arrow", table.schema) as writer:
        writer.write_table(table, 250)
    return folder / "d.arrow", None


def csv_pixels(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    names = ",".join(["label", *(f"pixel{at}" for at in range(784))])
    rows = np.column_stack([labels, images.reshape(-1, 784)])
    np.savetxt(folder / "d.csv", rows, "%d", ",", header=names, comments="")
    return folder / "d.csv", None


def json_lines(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    rows = ({"x": image.tolist(), "labels": int(label)} for image, label in zip(images, labels, strict=True))
    (folder / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "d.jsonl", None


def json_array(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    rows = [{"x": image.tolist(), "labels": int(label)} for image, label in zip(images, labels, strict=True)]
    (folder / "d.json").write_text(json.dumps(rows))
    return folder / "d.json", None


def hub(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    """What `datasets.Dataset.save_to_disk` writes: two Arrow streams, and JSON beside them."""
    (folder / "set").mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": png(image), "path": None} for image in images], kind)
    table = pa.table({"image": rows, "label": labels.astype(np.int64)})
    names = [f"data-{at:05}-of-00002.arrow" for at in range(2)]
    for at, name in enumerate(names):
        with pa.ipc.new_stream(folder / "set" / name, table.schema) as writer:
            writer.write_table(table.slice(600 * at, 600), 100)
    (folder / "set/state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "set/dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    return folder / "set", None


def webdataset(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    (folder / "tars").mkdir()
    for at in range(0, len(images), 700):
        with tarfile.open(folder / f"tars/{at:06}.tar", "w") as tar:
            for row in range(at, min(at + 700, len(images))):
                for ending, content in (("cls", str(labels[row]).encode()), ("png", png(images[row]))):
                    info = tarfile.TarInfo(f"train/{row:06}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder / "tars", None


def hdf5(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    with h5py.File(folder / "d.h5", "w") as file:
        file.create_dataset("train/images", data=images, chunks=(64, 28, 28), compression="gzip")
        file["labels"] = labels
    return folder / "d.h5", None


def zarr_folder(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    group = zarr.create_group(folder / "d.zarr")
    group.create_array("x", data=images, chunks=(64, 28, 28))
    group.create_array("labels", data=labels)
    return folder / "d.zarr", None


def zarr_2(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    group = zarr.create_group(zarr.storage.ZipStore(folder / "d.zarr.zip", mode="w"), zarr_format=2)
    group.create_array("x", data=images, chunks=(100, 28, 28))
    group.create_array("labels", data=labels)
    group.store.close()
    return folder / "d.zarr.zip", None


def remote(folder: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    """Parquet behind a URL."""
    data, _ = parquet_images(folder, images, labels)
    fsspec.filesystem("memory").pipe("/bucket/d.parquet", data.read_bytes())
    return "memory://bucket/d.parquet", None


def iterable(_: Path, images: np.ndarray, labels: np.ndarray) -> Data:
    def items() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(images), 37):
            yield {"x": images[start : start + 37], "labels": labels[start : start + 37]}

    return items(), None


FORMATS = [
    npz, npy, idx_files, idx_gz, listed_images, iterable, parquet_images, parquet_lists, parquet_folder, json_lines,
    json_array, hub, webdataset, hdf5, zarr_folder, zarr_2, remote,
]  # fmt: skip
FLAT = [arrow_file, csv_pixels]


@pytest.fixture(scope="session")
def reference(fashion: Any, network: Any) -> onnxrich.Analysis:
    """The analysis of the images as an array that was scaled by NumPy."""
    images, labels = fashion
    data = {"x": images[:, None].astype(np.float32) / np.float32(255), "labels": labels.astype(np.int64)}
    return onnxrich.run(network(), data, batch_size=100)


@pytest.mark.parametrize("make", [*FORMATS, *FLAT], ids=lambda make: make.__name__)
def test_same_moments(
    make: Callable[..., Data], fashion: Any, network: Any, reference: onnxrich.Analysis, tmp_path: Path
) -> None:
    """Rows in the same order have the same moments to the bit, and the same fingerprint."""
    data, labels = make(tmp_path, *fashion)
    shape = "float[N,784] x" if make in FLAT else "float[N,1,28,28] x"
    analysis = onnxrich.run(network(shape), data, labels, batch_size=100, preprocessing=SCALE)
    np.testing.assert_array_equal(analysis.moments.matrix, reference.moments.matrix)
    assert analysis.metrics == reference.metrics
    assert analysis.record.data.fingerprint == reference.record.data.fingerprint
    assert analysis.record.data.samples == len(fashion[0])
    applied = dict(analysis.record.data.preprocessing or {})
    assert len(applied.pop("columns", [])) == (784 if make is csv_pixels else 0)
    assert applied == SCALE | {"declared_by": {"scale": "options"}}
    named = make in (parquet_images, hub, remote)
    assert analysis.record.data.class_names == (NAMES if named else None)


def test_classes_in_subfolders(fashion: Any, network: Any, reference: onnxrich.Analysis, tmp_path: Path) -> None:
    """In folders named by class the rows come in another order: what no blocks are needed for is the same."""
    images, labels = fashion
    for at, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photos" / f"{label} {NAMES[label]}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    analysis = onnxrich.run(network(), tmp_path / "photos", batch_size=100, preprocessing=SCALE)
    assert analysis.record.data.fingerprint == reference.record.data.fingerprint
    assert analysis.record.data.class_names == tuple(f"{at} {name}" for at, name in enumerate(NAMES))
    # 1 000 terms a sum, in double, each term of the size of the whole: 1000 · 2⁻⁵³ of it at most; moments about shifts
    # that differ are the same to about that times the ratio of mean to deviation, below ten here.
    for name in ("d_lr", "d_lr_centered", "utilized_variance", "effective_rank", "participation_ratio", "accuracy"):
        assert analysis.metrics[name] == pytest.approx(reference.metrics[name], rel=1e-9), name
    assert analysis.metrics["d_lr_debiased"] == pytest.approx(reference.metrics["d_lr_debiased"], abs=0.02)


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


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_rows(make: Any, tmp_path: Path) -> None:
    """Rows and labels come in their order, in batches of any size, drawn at random, and in shards."""
    path = make(tmp_path)
    for size in (1, 7, 23, 50):
        rows, labels = read_all(source_of(two_layers(), path), size)
        np.testing.assert_array_equal(rows["x"], X)
        np.testing.assert_array_equal(labels, LABELS)
    order = np.random.default_rng(4).permutation(23)[:9]
    rows, labels = read_all(source_of(two_layers(), path, reading={"shuffle": True, "limit": 9}, seed=4), 4)
    np.testing.assert_array_equal(rows["x"], X[order])
    np.testing.assert_array_equal(labels, LABELS[order])
    source = source_of(two_layers(), path)
    for shard in reversed(source.shards(6)):
        found = np.concatenate([batch.inputs["x"] for batch in source.read(shard, 4)])
        np.testing.assert_array_equal(found, X[shard.start : shard.stop])


@pytest.mark.parametrize("make", MAKERS[:3], ids=lambda make: make.__name__)
def test_any_damage(make: Any, tmp_path: Path) -> None:
    """Bytes changed at random give rows or a DataError, never another exception."""
    path, chance = make(tmp_path), random.Random(0)
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    for _ in range(40):
        file = chance.choice(files)
        whole = file.read_bytes()
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        try:
            for _ in source_of(two_layers(), path, reading={"max_errors": 23}).batches(5):
                pass
        except DataError as error:
            assert str(error)
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["d.tar", "d.h5", "d.zarr.zip"])
def test_no_such_file(name: str, tmp_path: Path) -> None:
    """Missing files, FIFOs and files of something else are refused."""
    with refused(DataError, "No such file or directory"):
        source_of(two_layers(), tmp_path / name)
    (tmp_path / name).write_bytes(b"something else" * 100)
    with refused(DataError, f"{name} is damaged or no "):
        source_of(two_layers(), tmp_path / name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with within(5), refused(DataError, f"{name} is no regular file"):
        source_of(two_layers(), tmp_path / name)


@pytest.mark.parametrize("name", registry.FORMATS)
def test_a_format_is_imported_when_it_is_chosen(name: str) -> None:
    """Each entry names a function that exists, and none is imported before its format is chosen."""
    module, _, function = registry.FORMATS[name].opener.partition(":")
    assert callable(getattr(import_module(f"onnxrich.data.formats.{module}"), function))


def test_a_run_on_arrays_imports_no_other_format() -> None:
    """A run on an `.npz` file imports neither other formats, nor images, texts, iterables or synthetic rows."""
    program = (
        "import sys, onnxrich; onnxrich.run(onnxrich.demo_file('rich.onnx'), onnxrich.demo_file('evaluation.npz'))\n"
        "print(sorted(name for name in sys.modules if name.startswith('onnxrich.data.')))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    unused = ("formats.csv", "formats.columns", "formats.image", "images", "text", "iterables", "synthetic", "shared")
    assert "onnxrich.data.formats.numpy" in output
    assert not any(f"onnxrich.data.{name}" in output for name in unused)
