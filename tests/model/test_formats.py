"""Files and folders that are no ONNX models are told what they are, and which command takes them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from zoo_text import refused, two_layers

from onnxrich.errors import ModelError
from onnxrich.model.file import read_model

LONGEST = 300


def zipped(*names: str) -> bytes:
    """A zip archive with entries of these names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


def arrays() -> bytes:
    """An archive as NumPy writes it."""
    content = io.BytesIO()
    np.savez(content, x=np.ones(3))
    return content.getvalue()


def safetensors() -> bytes:
    """One weight, by the format's description: length of the header, header, values."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


FILES = {
    "empty.onnx": (b"", "an empty file", "Export or copy the model again."),
    "lfs.onnx": (b"version https://git-lfs.github.com/spec/v1\noid", "a git-lfs pointer", "git lfs pull"),
    "page.onnx": (b"\n <!DOCTYPE html>\n<html>", "text, such as an error page", "Download the model again."),
    "refusal.onnx": (b'{"error": "Invalid credentials"}', "text, such as an error page", "Download the model again."),
    "weights.pt": (zipped("w/data.pkl", "w/version"), "a pickle", "onnxrich export package.module:function"),
    "weights.pth": (pickle.dumps({"w": [1.0]}, protocol=2), "a pickle", "onnxrich export package.module:function"),
    "pytorch_model.bin": (pickle.dumps(1, protocol=4), "a pickle", "onnxrich export package.module:function"),
    "script.pt": (zipped("s/data.pkl", "s/code/a.py", "s/constants.pkl"), "a TorchScript program", "onnxrich export"),
    "program.pt2": (zipped("p/archive_format", "p/models/model.json"), "a PyTorch program (.pt2)", "program.pt2"),
    "old.pt2": (zipped("serialized_exported_program.json", "version"), "a PyTorch program", "onnxrich export old.pt2"),
    "model.safetensors": (safetensors(), "a safetensors file: weights without a network", "onnxrich export FOLDER"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file, such as a Keras model", "onnxrich export model.h5"),
    "model.keras": (zipped("config.json", "model.weights.h5"), "a Keras model", "onnxrich export model.keras"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite model", "onnxrich export MODEL"),
    "model.gguf": (b"GGUF" + bytes(40), "a GGUF file", "Export the model"),
    "model.onnx.gz": (gzip.compress(b"model"), "an archive or compressed", "Unpack it"),
    "model.zip": (zipped("model.onnx"), "an archive or compressed", "Unpack it"),
    "rows.npz": (arrays(), "a NumPy archive of arrays", "behind --data"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("renamed", [False, True])
def test_files(name: str, renamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content tells what a file is, whatever its name; the message fits one line."""
    monkeypatch.chdir(tmp_path)
    content, kind, remedy = FILES[name]
    path = Path("model" if renamed else name)
    path.write_bytes(content)
    with refused(ModelError, f"{path} is {kind}", remedy.replace(name, str(path))):
        read_model(path)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    assert len(str(caught.value)) < LONGEST
    with refused(ModelError, f"<bytes> is {kind}"):
        read_model(content)


FOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "saved": (("saved_model.pb", "variables"), "a TensorFlow SavedModel; needed: an ONNX model. Run `onnxrich export"),
    "bert": (("config.json", "model.safetensors"), "a folder with a model of transformers"),
    "one": (("model.onnx", "config.json"), "a folder; needed: an ONNX model. Pass one/model.onnx."),
    "two": (("b.onnx", "a.ONNX"), "a folder; needed: an ONNX model. Pass two/a.ONNX or two/b.onnx."),
    "none": (("notes.txt",), "a folder without a model"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is told by the names in it."""
    monkeypatch.chdir(tmp_path)
    names, message = FOLDERS[name]
    Path(name).mkdir()
    for each in names:
        (Path(name) / each).touch()
    with refused(ModelError, f"{name} is {message}"):
        read_model(name)


@pytest.mark.parametrize("make", [str, Path])
@pytest.mark.parametrize("url", ["https://example.com/a/model.onnx", "hf://user/model", "s3://bucket/model.onnx"])
def test_urls(url: str, make: Callable[[str], str | Path]) -> None:
    """A model is not fetched: a URL, also one that went through a path, is named as it was written."""
    with refused(ModelError, f"{url} is a URL; needed: a model on this machine. Download it"):
        read_model(make(url))


def test_a_file_with_the_name_of_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is read, whatever its name, and models without a version too, which begin with another field."""
    monkeypatch.chdir(tmp_path)
    Path("hf:").mkdir()
    proto = two_layers()
    proto.ClearField("ir_version")
    Path("hf:/m.onnx").write_bytes(proto.SerializeToString())
    assert read_model("hf:/m.onnx").inputs
