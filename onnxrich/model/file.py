"""Model files: reads an untrusted ONNX file, checks it, and describes its inputs."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from onnxrich._utils.files import open_regular, read_limited
from onnxrich._utils.inside import find_root
from onnxrich.errors import ModelError
from onnxrich.model.batch_axes import BatchAxis, find_batch_axes
from onnxrich.model.formats import check_format, check_location
from onnxrich.model.simplify import simplify
from onnxrich.model.traversal import is_external, iter_tensors
from onnxrich.model.validity import STANDARD, byte_count, check_validity

# The most bytes of a protobuf file. Larger models keep their weights as external data.
LARGEST_FILE = 2**31 - 1

# Bytes of external data that are read at a time.
_READ_BYTES = 1 << 20

# Prefix of the metadata that onnxrich reads.
METADATA_PREFIX = "onnxrich."


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: its name in the graph.
        dtype: NumPy dtype, that of objects for strings; None when it is no tensor of numbers or strings.
        shape: the axis of samples, then the others: for each an integer, the name of a symbolic dimension, or None when
            its size is unknown, as when an exporter writes a negative one; None when the rank is unknown.
        batch_axis: where the model itself has the axis of samples.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int | str | None, ...] | None
    batch_axis: int = 0

    def with_batch_axis(self, axis: int) -> Input:
        """The input with its samples along another axis of the declared shape."""
        sizes = list(self.declared_shape or ())
        if axis < len(sizes):
            sizes.insert(0, sizes.pop(axis))
        return replace(self, shape=None if self.shape is None else tuple(sizes), batch_axis=axis)

    @property
    def declared_shape(self) -> tuple[int | str | None, ...] | None:
        """The shape as the file states it."""
        if self.shape is None:
            return None
        first, *others = self.shape or (None,)
        return (*others[: self.batch_axis], first, *others[self.batch_axis :]) if self.shape else ()


@dataclass(frozen=True, eq=False)
class Model:
    """A parsed model.

    Attributes:
        proto: the model, without its external data.
        data: its serialized bytes.
        path: its path as the user wrote it; "<bytes>" or "<ModelProto>" for models in memory.
        folder: the folder of its external data; None for models in memory.
        file_sha256: SHA-256 of the original bytes, in hexadecimal.
        batch_axes: the axis of samples of each input where it is not the first.
        home: the folder of files beside the model, such as `config.json`; None for models in memory. It differs from
            `folder` where external data lie behind links in the store of a repository or cache (`find_root`).
    """

    proto: ModelProto
    data: bytes
    path: str
    folder: Path | None
    file_sha256: str
    batch_axes: Mapping[str, int] = field(default_factory=dict)
    home: Path | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the model with its weights, in hexadecimal. The first use reads external data as a stream.

        Without external data it is that of the file. With external data it is that of the text `DIGEST NAME\\n` for the
        file, whose name is empty, and for each file of external data in the order of their names.

        Raises:
            ModelError: when external data can't be read.
        """
        external = filter(is_external, iter_tensors(self.proto))
        locations = sorted({_location_of(self, tensor)[0] for tensor in external})
        if not locations or self.folder is None:
            return self.file_sha256
        lines = [f"{self.file_sha256} \n"]
        for location in locations:
            with _open_external(self, location) as file:
                digest = hashlib.sha256()
                while part := file.read(_READ_BYTES):
                    digest.update(part)
            lines.append(f"{digest.hexdigest()} {location}\n")
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs to feed: graph inputs that are no initializers."""
        initializers = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(
            _input_of(value, self.batch_axes.get(value.name, 0))
            for value in self.proto.graph.input
            if value.name not in initializers
        )

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return max((entry.version for entry in self.proto.opset_import if entry.domain in STANDARD), default=0)

    @property
    def producer(self) -> str:
        """Name and version of the exporter, as the file states them."""
        return f"{self.proto.producer_name} {self.proto.producer_version}".strip() or "unknown"

    @property
    def step(self) -> int | None:
        """Step of the training, if the file's metadata state it."""
        step = self._metadata.get("step", "")
        return int(step) if re.fullmatch(r"[0-9]{1,18}", step) else None

    @property
    def noted(self) -> dict[str, float]:
        """Other numbers that the file's metadata state under `onnxrich.`, by the rest of their names."""
        number = re.compile(r"[-+]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,2})?")
        numbers = {name: value for name, value in self._metadata.items() if name != "step" and number.fullmatch(value)}
        return {name: float(value) for name, value in numbers.items()}

    @property
    def _metadata(self) -> dict[str, str]:
        entries = {entry.key: entry.value for entry in self.proto.metadata_props}
        own = {key: value for key, value in entries.items() if key.startswith(METADATA_PREFIX)}
        return {key.removeprefix(METADATA_PREFIX): value for key, value in own.items()}


def read_model(model: str | os.PathLike[str] | bytes | ModelProto, *, batch_axis: BatchAxis | None = None) -> Model:
    """Read the model of a path, of bytes or of a ModelProto.

    External data are not loaded, but must lie in the model's folder.

    Args:
        model: the model.
        batch_axis: axis of samples in the inputs, as `find_batch_axes` takes it.

    Raises:
        ModelError: when the file does not exist or is no ONNX model, or its external data are missing or elsewhere.
        DataError: when no input has the requested axis.
    """
    if isinstance(model, ModelProto):
        data, path, folder = model.SerializeToString(), "<ModelProto>", None
    elif isinstance(model, bytes):
        data, path, folder = model, "<bytes>", None
    elif not isinstance(model, str | os.PathLike):
        raise ModelError(
            f"The model is of type {type(model).__qualname__}",
            "the path of an ONNX file, its bytes or a ModelProto",
            "Pass one of these. onnxrich.export(model, 'model.onnx') writes a framework's model as ONNX.",
        )
    else:
        path = os.fspath(model)
        check_location(path)
        data, folder = _read_file(Path(path)), _folder_of(Path(path))
    proto = _parse(data, path)
    digest = hashlib.sha256(data).hexdigest()
    simplified = simplify(proto, path)
    if simplified is not None:
        proto, data = simplified, simplified.SerializeToString()
    axes = find_batch_axes(proto, batch_axis)
    parsed = _without_store_links(Model(proto, data, path, folder, digest, axes, folder))
    _check_external_data(parsed)
    return parsed


def _folder_of(path: Path) -> Path:
    """Find the folder of a file, links resolved; for a link into the store of its repository, that of the link."""
    folder, target = path.parent.resolve(), path.resolve()
    return target.parent if find_root(folder, target) in (folder, None) else folder


def _without_store_links(model: Model) -> Model:
    """Return the model with its external data in the files to which links into a store lead.

    The runtime refuses links out of the model's folder. So locations become those of the files themselves, relative to
    the repository. The model stays as it is where a file may not be read: then `_check_external_data` refuses it.
    """
    tensors = [tensor for tensor in iter_tensors(model.proto) if is_external(tensor)]
    if model.folder is None or not tensors:
        return model
    locations = {_location_of(model, tensor)[0] for tensor in tensors}
    # A name that leads out of the folder is no link into a store.
    targets = {each: None if ".." in Path(each).parts else _resolve(model.folder, each) for each in locations}
    roots = {None if target is None else find_root(model.folder, target) for target in targets.values()}
    if None in roots or roots == {model.folder}:
        return model
    # All of them hold the model's folder.
    root = min((root for root in roots if root is not None), key=lambda root: len(root.parts))
    proto = ModelProto.FromString(model.data)
    for tensor in filter(is_external, iter_tensors(proto)):
        entry = next(entry for entry in tensor.external_data if entry.key == "location")
        target = targets[_location_of(model, tensor)[0]]
        assert target is not None  # noqa: S101 - all have a root
        entry.value = target.relative_to(root).as_posix()
    return replace(model, proto=proto, data=proto.SerializeToString(), folder=root)


def _resolve(folder: Path, location: str) -> Path | None:
    """Resolve the links of a location in a folder; None for an absolute path, and for a name that no file can have."""
    if Path(location).is_absolute():
        return None
    try:
        target = (folder / location).resolve()
        # Fails for names that no file can have. A link that leads nowhere is merely missing.
        target.is_file()
    except (OSError, RuntimeError, ValueError):
        return None
    return target


def _read_file(path: Path) -> bytes:
    with open_regular(path, ModelError, "a readable ONNX file") as file:
        check_format(file, str(path))
        return read_limited(
            file,
            LARGEST_FILE,
            ModelError,
            str(path),
            needed="at most 2 GiB in one protobuf file",
            remedy="Save the model with external data (onnx.save_model(…, save_as_external_data=True)).",
        )


def _parse(data: bytes, path: str) -> ModelProto:
    check_format(io.BytesIO(data), path)
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX model, or only part of one ({len(data):,} bytes)",
            "a whole ONNX protobuf file",
            "Export or copy the model again. `onnxrich export` writes a framework's model as ONNX.",
        ) from error
    if not proto.graph.node or not proto.graph.output or not proto.opset_import:
        has_graph = proto.graph.node and proto.graph.output
        missing = "version of the operator set" if has_graph else "graph with nodes and outputs"
        raise ModelError(f"{path} holds no {missing}", "a whole ONNX model", "Export or copy the model again.")
    check_validity(proto, path)
    return proto


def _input_of(value: onnx.ValueInfoProto, batch_axis: int) -> Input:
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError, TypeError):
        dtype = None
    if dtype is not None and (dtype.kind in "US" or not value.type.HasField("tensor_type")):
        dtype = None
    if not tensor.HasField("shape"):
        return Input(value.name, dtype, None)
    return Input(value.name, dtype, tuple(map(_size_of, tensor.shape.dim))).with_batch_axis(batch_axis)


def _size_of(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return dim.dim_param or None


def _check_external_data(model: Model) -> None:
    """Check that external data are regular files in the model's folder, links resolved, and long enough."""
    sizes: dict[str, int] = {}
    for tensor in iter_tensors(model.proto):
        if is_external(tensor):
            location, end = _location_of(model, tensor)
            sizes[location] = max(end, byte_count(tensor) or 0, sizes.get(location, 0))
    for location, size in sorted(sizes.items()):
        _check_external_file(model, location, size)


def _check_external_file(model: Model, location: str, size: int) -> None:
    if model.folder is None:
        raise _without_folder(location)
    name = f"{model.path}: external data {location!r}"
    if not _is_inside(model.folder, location):
        raise ModelError(
            f"{name} lie outside the model's folder, or have an absolute path",
            "external data beside the model",
            "Move them beside the model and save it again. Nothing outside is read.",
        )
    path = model.folder / location
    if not path.is_file():
        raise ModelError(f"{name} are missing", "that file beside the model", "Copy it there too.")
    if (actual := path.stat().st_size) < size:
        raise ModelError(f"{name} have {actual:,} bytes", f"{size:,} bytes", "Copy the whole file again.")


def _without_folder(location: str) -> ModelError:
    return ModelError(
        f"A model in memory has external data {location!r}", "a model with its weights", "Pass the path of the file."
    )


def _is_inside(folder: Path, location: str) -> bool:
    target = _resolve(folder, location)
    return target is not None and target != folder and target.is_relative_to(folder)


def read_external(model: Model, tensor: TensorProto) -> Iterator[bytes]:
    """Yield the bytes of a tensor's values in another file, in parts.

    Raises:
        ModelError: when they can't be read.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, end = _location_of(model, tensor)
    with _open_external(model, location) as file:
        file.seek(end - int(entries.get("length", 0)))
        rest = int(entries["length"]) if "length" in entries else os.fstat(file.fileno()).st_size - end
        while rest > 0 and (part := file.read(min(rest, _READ_BYTES))):
            rest -= len(part)
            yield part


def _open_external(model: Model, location: str) -> BinaryIO:
    """Open a file of external data."""
    if model.folder is None:
        raise _without_folder(location)
    return open_regular(model.folder / location, ModelError, "readable external data", model.folder)


def _location_of(model: Model, tensor: TensorProto) -> tuple[str, int]:
    """Read the file of a tensor's values, and the offset of their end in it as far as the model states it."""
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = os.fsdecode(entries.get("location", ""))
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        if min(offset, length) < 0:
            raise ValueError(min(offset, length))
        return location, offset + length
    except ValueError as error:
        raise ModelError(
            f"{model.path}: the position of external data {location!r} is no number from 0 on ({error})",
            "an offset and a length in bytes",
            "Save the model again.",
        ) from error
