"""Places and kinds: what a name means, what is read from URLs, and which package is missing."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pytest
import zarr
from PIL import Image
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.data.formats.registry import FORMATS, format_of, split_format
from onnxrich.errors import DataError

X = np.random.default_rng(0).standard_normal((23, 6)).astype(np.float32)
LABELS = np.arange(23) % 5


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("d.npz", "npz"), ("D.NPY", "npy"), ("t10k-images-idx3-ubyte", "idx"), ("train-labels-idx1-ubyte.gz", "idx"),
        ("a.parquet", "parquet"), ("a.arrow", "arrow"), ("a.csv", "csv"), ("a.tsv", "csv"), ("a.jsonl", "json"),
        ("a.tar", "webdataset"), ("a.h5", "hdf5"), ("a.zarr", "zarr"), ("a.zarr.zip", "zarr"), ("a.pkl", ""),
        ("npz", ""),
    ],
)  # fmt: skip
def test_endings(name: str, kind: str) -> None:
    """The end of a name says its kind."""
    assert format_of(name) == kind


@pytest.mark.parametrize(
    ("name", "kind", "url"),
    [
        ("images:photos", "images", "photos"), ("csv:data.txt", "csv", "data.txt"),
        ("C:\\data.csv", "", "C:\\data.csv"),
        ("s3://bucket/a.csv", "", "s3://bucket/a.csv"), ("images:s3://b/p", "images", "s3://b/p"), ("a:b", "", "a:b"),
        ("zarr://x", "", "zarr://x"),
    ],
)  # fmt: skip
def test_kinds_before_places(name: str, kind: str, url: str) -> None:
    """A kind may stand before a place; what is none is part of the place."""
    prefix, path = split_format(name)
    assert (prefix, path.url) == (kind, url)


def test_kind_wins_over_ending(tmp_path: Path) -> None:
    """A kind that is said goes before the end of the name."""
    np.save(tmp_path / "d.npz", X)
    (tmp_path / "d.npz.npy").rename(tmp_path / "d.npz")
    np.testing.assert_array_equal(read_all(source_of(two_layers(), f"npy:{tmp_path}/d.npz"), 5)[0]["x"], X)


def bytes_of(kind: str) -> dict[str, bytes]:
    """Files of some kind that hold X and its labels, by name."""
    file = io.BytesIO()
    if kind == "npz":
        np.savez_compressed(file, x=X, labels=LABELS)
    elif kind == "npy":
        np.save(file, X)
    elif kind == "idx.gz":
        sizes = b"".join(size.to_bytes(4, "big") for size in X.shape)
        file.write(gzip.compress(b"\0\0\x0d\x02" + sizes + X.astype(">f4").tobytes()))
    elif kind == "csv":
        rows = [
            ["label", *(f"f{at}" for at in range(6))],
            *([y, *row] for y, row in zip(LABELS, X.tolist(), strict=True)),
        ]
        file.write("\n".join(",".join(map(str, row)) for row in rows).encode())
    elif kind == "arrow":
        table = pa.table({"x": X.tolist(), "labels": LABELS})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    else:
        with h5py.File(file, "w") as opened:
            opened["x"], opened["labels"] = X, LABELS
    return {f"d.{kind}": file.getvalue()}


@pytest.mark.parametrize("kind", ["npz", "npy", "idx.gz", "csv", "arrow", "h5"])
def test_urls(kind: str) -> None:
    """Files behind a URL are read as local ones are, also drawn at random."""
    memory = fsspec.filesystem("memory")
    for name, content in bytes_of(kind).items():
        memory.pipe(f"/{kind}/{name}", content)
    labels = None if kind not in ("npy", "idx.gz") else LABELS
    for reading in ({}, {"shuffle": True}):
        source = source_of(two_layers(), f"memory://{kind}/d.{kind}", labels, reading=reading, seed=1)
        order = np.random.default_rng(1).permutation(23) if reading else np.arange(23)
        rows, read_labels = read_all(source, 5)
        np.testing.assert_array_equal(rows["x"], X[order])
        np.testing.assert_array_equal(read_labels, LABELS[order])


def test_folders_behind_urls() -> None:
    """Folders of images and Zarr groups too."""
    memory = fsspec.filesystem("memory")
    for value in (3, 1, 2):
        file = io.BytesIO()
        Image.new("L", (2, 2), value).save(file, "png")
        memory.pipe(f"/photos/{'ab'[value % 2]}/{value}.png", file.getvalue())
    model = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")
    source = source_of(model, "memory://photos")
    rows, labels = read_all(source, 2)
    values = rows["x"][:, 0, 0, 0].tolist()
    assert sorted(values) == [1, 2, 3]
    assert labels is not None and labels.tolist() == [value % 2 for value in values]
    assert source.class_names == ("a", "b")
    group = zarr.create_group("memory://d.zarr")
    group.create_array("x", data=X, chunks=(5, 6))
    np.testing.assert_array_equal(read_all(source_of(two_layers(), "memory://d.zarr"), 7)[0]["x"], X)


@pytest.mark.parametrize("url", ["memory://none/d.npz", "memory://none/d.csv", "memory://none/d.idx.gz"])
def test_nothing_behind_a_url(url: str) -> None:
    """A URL that leads nowhere is refused with what is behind it."""
    with refused(DataError, "none/d.", "needed: a"):
        source_of(two_layers(), url)


def test_unknown_protocols() -> None:
    """A protocol that fsspec doesn't know is refused with its own words."""
    url = "nonsense://a/d.npz"
    with refused(
        DataError, f"{url}: ", "needed: a URL that fsspec opens. Check the URL, and that fsspec and its package"
    ):
        source_of(two_layers(), url)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("a.parquet", "pyarrow", "parquet"), ("a.csv", "pyarrow", "parquet"), ("a.h5", "h5py", "hdf5"),
        ("a.zarr", "zarr", "zarr"), ("photos", "PIL", "images"), ("s3://bucket/a.npz", "fsspec", "cloud"),
    ],
)  # fmt: skip
def test_missing_packages(name: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed is named, with the command that installs it."""
    for module in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(b"")
    (tmp_path / "a.zarr").mkdir()
    for file in ("a.parquet", "a.csv", "a.h5"):
        (tmp_path / file).write_bytes(b"")
    data: Any = name if "://" in name else tmp_path / name
    model = build("h = Relu(x)", x="float[N,1,H,W] x", y="float[N,1,H,W] h")
    with refused(DataError, f"and no package {package!r}; needed: ", f'Install it: `pip install "onnxrich[{extra}]"`.'):
        read_all(source_of(model, data, preprocessing={"scale": 1.0}), 1)


def test_every_kind_is_listed(tmp_path: Path) -> None:
    """An unknown kind of file is refused with all that are read."""
    (tmp_path / "d.pkl").write_bytes(b"")
    endings = ", ".join(ending for kind in FORMATS.values() for ending in kind.endings)
    with refused(
        DataError, f"d.pkl is of an unknown kind; needed: one of {endings}, or KIND:FILE.", ", ".join(FORMATS)
    ):
        source_of(two_layers(), tmp_path / "d.pkl")
