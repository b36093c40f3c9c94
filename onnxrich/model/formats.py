"""Files and folders that are no ONNX models: what they are, and which command takes them.

A file is told by its first bytes, for names are chosen freely; a folder by the names of the files in it. Nothing is
loaded.
"""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from onnxrich._utils.inside import list_folder
from onnxrich.errors import ModelError

_ONNX = "an ONNX model"
_EXPORT = "Run `onnxrich export {path} -o model.onnx`, then pass model.onnx."
_BUILD = (
    "Write a function that builds the network and loads the weights, and run `onnxrich export package.module:function "
    "-o model.onnx`."
)
# Bytes that tell the kind of a file.
_START = 64
# The least length of a scheme: a single letter is a drive.
_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/+(?=[^/])")


@dataclass(frozen=True)
class _Format:
    """A kind of file or folder.

    Attributes:
        name: what it is.
        remedy: what to type next; `{path}` stands for it.
        needed: what a model is instead.
    """

    name: str
    remedy: str
    needed: str = _ONNX

    def error(self, path: str) -> ModelError:
        """Make the error for a path."""
        return ModelError(f"{path} is {self.name}", self.needed, self.remedy.format(path=path))


_PROGRAM = _Format("a PyTorch program (.pt2)", _EXPORT)
_KERAS = _Format("a Keras model", _EXPORT)
_PICKLE = _Format("a pickle, such as weights of PyTorch, and pickles are never loaded", _BUILD)
_SCRIPT = _Format("a TorchScript program", f"Export the Python model that it was made from. {_BUILD}")
_ARRAYS = _Format("a NumPy archive of arrays", "Pass the model first, and the arrays behind --data.")
_ARCHIVE = _Format("an archive or compressed", "Unpack it, and pass the model in it.")
_TEXT = _Format("text, such as an error page that a server sent in place of the model", "Download the model again.")

# First bytes of files, and what begins with them; zip archives are told by their entries.
_STARTS: tuple[tuple[bytes, _Format], ...] = (
    (b"version https://git-lfs", _Format("a git-lfs pointer", "Run `git lfs pull` first.", "the model itself")),
    (b"\x89HDF\r\n\x1a\n", _Format("an HDF5 file, such as a Keras model (.h5)", _EXPORT)),
    (b"\x80", _PICKLE),
    (b"GGUF", _Format("a GGUF file: weights for llama.cpp", "Export the model that it was made from.")),
    (b"\x1f\x8b", _ARCHIVE),
    (b"BZh", _ARCHIVE),
    (b"\xfd7zXZ\x00", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE),
    (b"\x93NUMPY", _Format("a NumPy array", "Pass the model first, and the array behind --data.")),
)
# Names of entries of a zip archive, below its folder, and what an archive with such an entry is.
_ENTRIES: tuple[tuple[str, _Format], ...] = (
    (r"archive_format|models/.*\.json|serialized_exported_program\.json", _PROGRAM),
    (r"constants\.pkl|code/.*", _SCRIPT),
    (r"data\.pkl", _PICKLE),
    (r"model\.weights\.h5", _KERAS),
    (r".*\.npy", _ARRAYS),
)
_SAFETENSORS = _Format(
    "a safetensors file: weights without a network",
    "Run `onnxrich export FOLDER -o model.onnx` on the folder with its config.json, or export a function: "
    "`onnxrich export package.module:function -o model.onnx`.",
)
_TFLITE = _Format(
    "a TensorFlow Lite model", "Run `onnxrich export MODEL -o model.onnx` on the Keras file or SavedModel behind it."
)
# Models of a folder that a message names at most.
_LISTED = 2
_EMPTY = _Format("an empty file", "Export or copy the model again.", "a whole ONNX model")


def check_location(path: str) -> None:
    """Check that a path is no URL and no folder.

    Raises:
        ModelError: when it is; the message says what lies there.
    """
    if os.path.lexists(path):
        if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
            raise _folder_format(Path(path)).error(path)
    elif match := _URL.match(path):
        # A path of one slash too few is what pathlib makes of a URL.
        url = f"{match[1]}://{path[match.end() :]}"
        raise ModelError(f"{url} is a URL", "a model on this machine", "Download it, and pass the path of the file.")


def check_format(file: BinaryIO, path: str) -> None:
    """Check that a file has not the format of something else; it is left at its beginning.

    Raises:
        ModelError: when it has; the message says what it is, and which command takes it.
    """
    found = _file_format(file)
    file.seek(0)
    if found is not None:
        raise found.error(path)


def _file_format(file: BinaryIO) -> _Format | None:
    start = file.read(_START)
    if not start:
        return _EMPTY
    if start.startswith(b"PK\x03\x04"):
        return _zip_format(file)
    if start[4:8] == b"TFL3":
        return _TFLITE
    # Eight bytes of a length, then JSON.
    if start[8:9] == b"{" and start[5:8] == b"\0\0\0":
        return _SAFETENSORS
    for beginning, found in _STARTS:
        if start.startswith(beginning):
            return found
    # A model begins with the version of its format, which is no printable character.
    return _TEXT if re.fullmatch(rb"\s*[\x20-\x7e][\x09\x0a\x0d\x20-\x7e]*", start) else None


def _zip_format(file: BinaryIO) -> _Format:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return _ARCHIVE
    for pattern, found in _ENTRIES:
        if any(re.fullmatch(rf"([^/]+/)?({pattern})", name) for name in names):
            return found
    return _ARCHIVE


def _folder_format(folder: Path) -> _Format:
    try:
        names = [entry.name for entry in list_folder(folder, ModelError)]
    except ModelError:
        names = []
    models = [name for name in names if name.lower().endswith(".onnx")]
    if models:
        more = f", or one of {len(models) - _LISTED} others" if len(models) > _LISTED else ""
        listed = " or ".join(str(folder / name) for name in models[:_LISTED])
        return _Format("a folder", f"Pass {listed}{more}.")
    if "saved_model.pb" in names:
        return _Format("a TensorFlow SavedModel", _EXPORT)
    if "config.json" in names:
        return _Format("a folder with a model of transformers", _EXPORT)
    return _Format("a folder without a model", "Pass the path of the file itself.")
