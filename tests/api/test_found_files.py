"""What is found in a folder, or named by a file in it, is read by one rule: whatever reads it, and whatever lies there.

Each reader gets the same folder again with one of its files replaced: by a link out of the folder, by links that stay
inside, by another name of the file, by what is no file.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.files import LABELS, X, in_hub, in_zarr, npy, png, tar
from onnx import TensorProto
from zoo_text import build, read_all, source_of, two_layers, within

import onnxrich
from onnxrich.data.open import open_source
from onnxrich.errors import OnnxrichError
from onnxrich.model.file import read_model
from onnxrich_transformers.pretrained import read_configuration

IMAGES = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")
NAMES = {"id2label": {"0": "cat", "1": "dog", "2": "ant"}}
STEPS = {"do_rescale": True, "rescale_factor": 0.5}
WORDS = np.array(["ant", "cat", "dog"] * 8)[:23]


@dataclass(frozen=True)
class Reader:
    """A reader of a file that is found.

    Attributes:
        file: the file, relative to the folder.
        make: fills the folder.
        read: reads the folder; what it returns tells whether it read the file.
        is_optional: whether the folder is also read without the file.
    """

    file: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    is_optional: bool = False


def model_in(folder: Path, **files: Any) -> None:
    (folder / "net.onnx").write_bytes(two_layers().SerializeToString())
    for name, content in files.items():
        (folder / name.replace("_json", ".json")).write_text(json.dumps(content))


def rows_of(source: onnxrich.data.source.Source) -> Any:
    rows, labels = read_all(source, 5)
    return {name: array.tolist() for name, array in rows.items()}, None if labels is None else labels.tolist()


def beside(data: Any = None, labels: Any = None) -> Callable[[Path], Any]:
    """Reads the data beside a model, or others."""
    return lambda folder: rows_of(open_source(read_model(folder / "net.onnx"), data, labels))


def rows_in(name: str = "", proto: Any = None, kind: str = "") -> Callable[[Path], Any]:
    return lambda folder: rows_of(source_of(two_layers() if proto is None else proto, f"{kind}{folder / name}"))


def images(folder: Path) -> None:
    for at, kind in enumerate(("ant", "cat")):
        (folder / kind).mkdir()
        (folder / kind / "1.png").write_bytes(png(at))
    (folder / "list.csv").write_text("file,label\nant/1.png,0\ncat/1.png,1\n")


def parquet(folder: Path) -> None:
    for part in (1, 2):
        pq.write_table(pa.table({"x": X.tolist(), "labels": LABELS}), folder / f"{part}.parquet")


def tars(folder: Path) -> None:
    for part in (1, 2):
        tar(folder / f"{part}.tar", {f"{at}.x.npy": npy(X[at]) for at in range(part, 23)})


def settings(folder: Path) -> None:
    model_in(folder)
    np.savez(folder / "d.npz", x=X)
    np.save(folder / "marks.npy", LABELS)
    (folder / "onnxrich.toml").write_text('data = "d.npz"\nlabels = "marks.npy"')


def data_beside(ending: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        model_in(folder)
        np.savez(folder / "net.npz", x=X) if ending == "npz" else np.save(folder / "net.npy", X)

    return make


def external(folder: Path) -> None:
    proto = two_layers()
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == "w1")
    (folder / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (folder / "net.onnx").write_bytes(proto.SerializeToString())


def measure(folder: Path) -> Any:
    """Runs a model, whose weights the runtime reads by itself, and writes it with its features as an output."""
    path = folder / "net.onnx"
    analysis = onnxrich.run(path, {"x": X}, device="cpu")
    onnxrich.expose(path, (read_model(path).folder or folder) / "exposed.onnx", force=True)
    return analysis.moments.matrix.tolist()


def checkpoints(folder: Path) -> None:
    for step in (1, 2):
        (folder / f"step-{step}.onnx").write_bytes(two_layers().SerializeToString())


def report(folder: Path) -> None:
    onnxrich.run(two_layers(), {"x": X}, device="cpu").save(folder, force=True)


def pretrained(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"weights")


READERS = {
    "image": Reader("ant/1.png", images, rows_in(proto=IMAGES)),
    "image of a list": Reader("ant/1.png", images, rows_in("list.csv", IMAGES, "images:")),
    "Parquet part": Reader("2.parquet", parquet, rows_in()),
    "tar": Reader("2.tar", tars, rows_in()),
    "Arrow file": Reader("set/test/data-00000-of-00001.arrow", in_hub, rows_in("set/test")),
    "state of a data set": Reader("set/test/state.json", in_hub, rows_in("set/test")),
    "description of a data set": Reader("set/test/dataset_info.json", in_hub, rows_in("set/test", kind="hf:"), True),
    "Zarr chunk": Reader("d.zarr/x/c/0/0", in_zarr, rows_in("d.zarr")),
    "Zarr metadata": Reader("d.zarr/x/zarr.json", in_zarr, rows_in("d.zarr")),
    "onnxrich.toml": Reader("onnxrich.toml", settings, beside(), True),
    "data that it names": Reader("d.npz", settings, beside()),
    "labels that it names": Reader("marks.npy", settings, beside()),
    "npz beside": Reader("net.npz", data_beside("npz"), beside(), True),
    "npy beside": Reader("net.npy", data_beside("npy"), beside(), True),
    "config.json": Reader(
        "config.json", lambda folder: model_in(folder, config_json=NAMES), beside({"x": X, "labels": WORDS}), True
    ),
    "preprocessor_config.json": Reader(
        "preprocessor_config.json",
        lambda folder: model_in(folder, preprocessor_config_json=STEPS),
        beside({"x": X}),
        True,
    ),
    "external data": Reader("w.bin", external, measure),
    "checkpoint": Reader("step-2.onnx", checkpoints, lambda folder: onnxrich.track(folder, {"x": X}).steps),
    "saved moments": Reader(
        "moments.npz", report, lambda folder: onnxrich.Analysis.load(folder).moments.matrix.tolist()
    ),
    "configuration of transformers": Reader("config.json", pretrained, read_configuration, True),
    "weights of transformers": Reader("model.safetensors", pretrained, read_configuration),
}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


def make(reader: Reader, folder: Path) -> Path:
    """Fill a folder for a reader; return the path of the file that is found."""
    folder.mkdir(parents=True)
    reader.make(folder)
    return folder / reader.file


def replace_by_link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    file.symlink_to(os.path.relpath(target, file.parent))


def test_a_link_out_of_the_folder_is_refused(reader: Reader, tmp_path: Path) -> None:
    """The message names the file, where it leads, and what to do."""
    file = make(reader, tmp_path / "in")
    replace_by_link(file, tmp_path / "out" / "secret")
    with pytest.raises(OnnxrichError) as caught:
        reader.read(tmp_path / "in")
    message = str(caught.value)
    if "names" in message or "external data" in message:
        assert file.name in message
        assert "inside the model's folder" in message or "outside the model's folder" in message
        assert caught.value.remedy
    else:
        assert str(Path(reader.file)) in message
        assert f"leads to {tmp_path / 'out' / 'secret'}, out of its folder" in message or "--max-errors" in message


@pytest.mark.parametrize("name", ["image", "image of a list", "Zarr chunk", "Zarr metadata"])
def test_a_link_through_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    """So is a file in a linked folder, wherever it leads."""
    file = make(READERS[name], tmp_path / "in")
    file.parent.rename(tmp_path / "out")
    file.parent.symlink_to(tmp_path / "out")
    with pytest.raises(OnnxrichError, match=r"leads to|is a link to a folder|items that can be read"):
        READERS[name].read(tmp_path / "in")


def test_a_link_that_stays_inside_is_followed(reader: Reader, tmp_path: Path) -> None:
    file = make(reader, tmp_path / "in")
    expected = reader.read(tmp_path / "in")
    replace_by_link(file, file.with_name(f"{file.name}.content"))
    assert reader.read(tmp_path / "in") == expected


def test_all_names_of_a_file_are_equal(reader: Reader, tmp_path: Path) -> None:
    """A hard link is read: nobody can tell which name of a file was its first."""
    file = make(reader, tmp_path / "in")
    expected = reader.read(tmp_path / "in")
    os.link(file, tmp_path / "secret")
    assert file.stat().st_nlink == 2
    assert reader.read(tmp_path / "in") == expected


STORES = {
    "DVC": ("repository/some/in", "repository/.dvc/cache/files/md5/ab/cdef"),
    "git-annex": ("repository/in", "repository/.git/annex/objects/Zk/p7/MD5E-s3--ab/MD5E-s3--ab"),
    "git-annex in a submodule": ("repository/sub/in", "repository/.git/modules/sub/annex/objects/Zk/p7/MD5E/MD5E"),
    "Hugging Face": ("hub/datasets--org--name/snapshots/0123abcd", "hub/datasets--org--name/blobs/fedc"),
}


@pytest.mark.parametrize("store", STORES)
def test_links_into_the_store_of_a_repository_are_followed(store: str, reader: Reader, tmp_path: Path) -> None:
    """Caches of Hugging Face and working trees of DVC and git-annex consist of such links."""
    make(reader, tmp_path / "in")
    expected = reader.read(tmp_path / "in")
    folder, target = (tmp_path / name for name in STORES[store])
    replace_by_link(make(reader, folder), target)
    assert reader.read(folder) == expected


@pytest.mark.parametrize("store", STORES)
def test_a_store_elsewhere_is_outside(store: str, reader: Reader, tmp_path: Path) -> None:
    """A link into the store of another repository is refused as any link out."""
    folder, target = (tmp_path / name for name in STORES[store])
    replace_by_link(make(reader, folder), tmp_path / "other" / target.relative_to(tmp_path))
    with pytest.raises(OnnxrichError):
        reader.read(folder)


def test_a_folder_that_the_user_passes_may_be_a_link(reader: Reader, tmp_path: Path) -> None:
    make(reader, tmp_path / "in")
    expected = reader.read(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")
    assert reader.read(tmp_path / "link") == expected


@pytest.mark.filterwarnings("ignore:Object at x is not recognized")
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "circle"])
def test_what_is_no_file_is_not_waited_for(
    kind: str, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused at once, or passed over where a file may be missing and where folders may lie in folders."""
    file = make(reader, tmp_path / "in")
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "socket":
        monkeypatch.chdir(file.parent)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(file.name)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "circle":
        file.symlink_to(file.name)
    else:
        file.mkdir()
    with within(60):
        try:
            reader.read(tmp_path / "in")
        except OnnxrichError:
            return
    assert reader.is_optional or kind == "folder"
