"""Tars, HDF5, Zarr, and data sets of Hugging Face on disk: what is read, and what is refused because a file says so."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
import zarr
from PIL import Image
from zoo_text import blocks_of, build, read_all, refused, source_of, table_of, two_layers, within

from onnxrich.errors import DataError

X = np.random.default_rng(0).standard_normal((23, 6)).astype(np.float32)
LABELS = np.arange(23) % 5
IMAGES = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "png")
    return file.getvalue()


def tar(path: Path, files: dict[str, bytes], **change: Any) -> Path:
    """A tar of some files, in their order; `change` sets fields of each header."""
    with tarfile.open(path, "w") as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in change.items():
                setattr(info, key, value)
            opened.addfile(info, io.BytesIO(content))
    return path


def arrays_in_tar(folder: Path) -> Path:
    files: dict[str, bytes] = {"readme": b"no sample"}
    for at in range(23):
        files |= {f"./a.b/{at:02}.x.npy": npy(X[at]), f"./a.b/{at:02}.cls": f" {LABELS[at]}\n".encode()}
    return tar(folder / "d.tar", files)


def in_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "d.hdf5", "w") as file:
        file["x"], file["labels"], file["names"] = X, LABELS, ["a"] * 23
    return folder / "d.hdf5"


def in_zarr(folder: Path) -> Path:
    group = zarr.create_group(folder / "d.zarr")
    group.create_array("x", data=X, chunks=(5, 4))
    group.create_array("labels", data=LABELS, chunks=(7,))
    return folder / "d.zarr"


def in_hub(folder: Path) -> Path:
    (folder / "set/test").mkdir(parents=True)
    table = pa.table({"x": X.tolist(), "labels": LABELS})
    with pa.ipc.new_stream(folder / "set/test/data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, 7)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "set/test/state.json").write_text(json.dumps(state))
    (folder / "set/test/dataset_info.json").write_text("{}")
    (folder / "set/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder / "set/test"


MAKERS = [arrays_in_tar, in_hdf5, in_zarr, in_hub]


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


# Tars


def test_tar_is_never_unpacked(tmp_path: Path) -> None:
    """Names that lead elsewhere are only names; links, devices and folders are passed over; nothing is written."""
    (tmp_path / "in").mkdir()
    path = tar(tmp_path / "in/d.tar", {"../../evil.png": png(7), "/abs.png": png(9)})
    with tarfile.open(path, "a") as opened:
        for kind, name in ((tarfile.SYMTYPE, "link.png"), (tarfile.LNKTYPE, "hard.png"), (tarfile.FIFOTYPE, "f.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
    rows, _ = read_all(source_of(IMAGES, path), 2)
    assert rows["x"][:, 0, 0, 0].tolist() == [7, 9]
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["d.tar", "in"]


def test_samples_of_a_tar(tmp_path: Path) -> None:
    """Consecutive files of one name up to the first dot are a sample; one that lacks a file is left out, or stops."""
    files = {
        "a.png": png(1), "a.cls": b"3", "b.png": png(2), "c.png": png(3), "c.cls": b"x", "d.png": b"", "d.cls": b"1",
        "e.png": png(5), "e.cls": b"0",
    }  # fmt: skip
    path = tar(tmp_path / "d.tar", files)
    with refused(DataError, "d.tar, b: no file .cls; needed: items that can be read."):
        read_all(source_of(IMAGES, path, reading={"max_errors": 0}), 5)
    source = source_of(IMAGES, path, reading={"max_errors": 3})
    batches = list(source.batches(5))
    assert [batch.inputs["x"][:, 0, 0, 0].tolist() for batch in batches] == [[1, 5]]
    assert [batch.labels.tolist() for batch in batches if batch.labels is not None] == [[3, 0]]
    assert {reason for _, reason in source.skipped.items if ".cls" in reason} == {
        "no file .cls", "'x' in .cls, which is no class",
    }  # fmt: skip


def test_arrays_of_different_shapes_in_a_tar(tmp_path: Path) -> None:
    """Rows of two shapes can't be one batch, and the message says which shapes."""
    path = tar(tmp_path / "d.tar", {"0.x.npy": npy(X[0]), "1.x.npy": npy(X[1, :3])})
    with refused(DataError, "d.tar holds arrays 'x' of shapes (3,) and (6,); needed: arrays of one shape within"):
        read_all(source_of(two_layers(), path), 4)


def test_pickles_in_a_tar(tmp_path: Path) -> None:
    """Python objects in a NumPy array are never unpickled."""
    path = tar(tmp_path / "d.tar", {"a.x.npy": npy(X[0]), "b.x.npy": npy(np.array([print], dtype=object))})
    with refused(DataError, "d.tar, b: no NumPy array of numbers in .npy"):
        read_all(source_of(two_layers(), path), 5)


@pytest.mark.parametrize("size", [b"77777777777\0", b"\xff" * 10 + b"\xfc\0"], ids=["8 GiB", "-1024"])
def test_a_tar_that_claims_much(size: bytes, tmp_path: Path) -> None:
    """A file whose header claims more than the tar holds, or less than nothing, is refused at once."""
    path = tar(tmp_path / "d.tar", {"a.png": png(1)})
    content = bytearray(path.read_bytes())
    content[124:136] = size
    checksum = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % checksum
    path.write_bytes(content)
    with within(10), refused(DataError, "d.tar is damaged or no tar file ("):
        source_of(IMAGES, path)


# HDF5


def test_hdf5_links_are_not_followed(tmp_path: Path) -> None:
    """Links to other files, and datasets that keep their values there, are passed over or refused."""
    secret = in_hdf5(tmp_path)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(X.tobytes())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(secret), "x")
        file["y"] = h5py.SoftLink("/x")
        file["z"] = X + 1
        file.create_group("loop")["again"] = file["/"]
    rows, _ = read_all(source_of(two_layers(), table_only(tmp_path / "link.h5")), 5)
    np.testing.assert_array_equal(rows["x"], X + 1)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", X.shape, "f4", external=[(str(raw), 0, X.nbytes)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(X.shape, "f4")
        layout[...] = h5py.VirtualSource(secret, "x", X.shape)
        file.create_virtual_dataset("x", layout)
    for name in ("external", "virtual"):
        with refused(
            DataError, f"{name}.h5: dataset 'x' keeps its values in other files; needed: values in the file its"
        ):
            source_of(two_layers(), tmp_path / f"{name}.h5")


def table_only(path: Path) -> dict[str, np.ndarray]:
    """The dataset `z` of a file, which must be all that it shows but for the copies behind the loop."""
    table = table_of(path)
    assert {name.rpartition("/")[2] for name in table.fields} == {"z"}
    return {"x": np.concatenate(list(blocks_of(table, "z", 5)))}


# Zarr


def test_zarr_codecs(tmp_path: Path) -> None:
    """Codecs that could run code are refused, in both versions."""
    path = in_zarr(tmp_path)
    meta = json.loads((path / "x/zarr.json").read_text())
    meta["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    (path / "x/zarr.json").write_text(json.dumps(meta))
    with refused(DataError, "d.zarr"):
        source_of(two_layers(), path)
    group = zarr.create_group(tmp_path / "two.zarr", zarr_format=2)
    group.create_array("x", data=X)
    meta = json.loads((tmp_path / "two.zarr/x/.zarray").read_text())
    plain = json.dumps(meta)
    meta["filters"] = [{"id": "pickle", "protocol": 5}]
    (tmp_path / "two.zarr/x/.zarray").write_text(json.dumps(meta))
    with refused(DataError, "two.zarr is damaged or no Zarr array (No Zarr data type found that matches"):
        source_of(two_layers(), tmp_path / "two.zarr")
    meta = json.loads(plain)
    meta["filters"] = [{"id": "quantize", "digits": 2, "dtype": "<f4"}]
    (tmp_path / "two.zarr/x/.zarray").write_text(json.dumps(meta))
    with refused(DataError, "two.zarr: array 'x' is packed by codec 'quantize'; needed: one of "):
        source_of(two_layers(), tmp_path / "two.zarr")


def test_a_single_zarr_array(tmp_path: Path) -> None:
    """An array without a group fits a single input."""
    zarr.create_array(tmp_path / "d.zarr", data=X)
    np.testing.assert_array_equal(read_all(source_of(two_layers(), tmp_path / "d.zarr"), 5)[0]["x"], X)


# Hugging Face


def test_splits(tmp_path: Path) -> None:
    """A folder of several splits is refused with their names."""
    path = in_hub(tmp_path).parent
    with refused(DataError, "set holds several splits (train, test); needed: one of them. Pass hf:", "set/SPLIT."):
        source_of(two_layers(), path)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "sub/data.arrow", "..", "", 7, None])
def test_hub_reads_its_own_folder(name: Any, tmp_path: Path) -> None:
    """Files outside the folder are not read because a file says so."""
    path = in_hub(tmp_path)
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with refused(DataError, "Arrow files of the same folder" if isinstance(name, str) else "none"):
        source_of(two_layers(), path) if isinstance(name, str) else _none(path)


def _none(path: Path) -> None:
    try:
        source_of(two_layers(), path)
    except DataError as error:
        assert "No such file" in str(error)
        raise DataError("none", "none", "none") from error
