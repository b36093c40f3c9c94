"""A model file, read without trusting it: its protobuf, its bytes, its signature."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxrich._utils.files import open_regular
from onnxrich.errors import ModelError
from onnxrich.model.simplify import simplify

# Protobuf can't hold more in one file; larger models keep their weights as external data.
LARGEST_FILE = 2**31 - 1

# What the names of metadata that are meant for us begin with.
MARK = "onnxrich."

# Types of initializers that hold indices and shapes rather than parameters.
_NO_PARAMETERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: its name in the graph.
        dtype: NumPy dtype, None when it is no numeric tensor.
        shape: integers, names of symbolic dimensions, or None where nothing is known (a negative size, which some
            exporters write, says nothing either); None for an unknown rank.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, eq=False)
class Model:
    """A parsed model.

    Attributes:
        proto: the model, external data not loaded.
        data: the serialized bytes of it.
        path: where it came from, as the user named it; "<bytes>" for models in memory.
        folder: where its external data lie, None for models in memory.
        sha256: SHA-256 of the bytes as given, in hexadecimal.
    """

    proto: ModelProto
    data: bytes
    path: str
    folder: Path | None
    sha256: str

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What must be fed: graph inputs that are no initializers."""
        given = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(_input(value) for value in self.proto.graph.input if value.name not in given)

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return max((entry.version for entry in self.proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)

    @property
    def producer(self) -> str:
        """Name and version of the exporter, as the file states them."""
        return f"{self.proto.producer_name} {self.proto.producer_version}".strip() or "unknown"

    @property
    def step(self) -> int | None:
        """Step of the training, where the file's metadata say it."""
        step = self._marks.get("step", "")
        return int(step) if re.fullmatch(r"[0-9]{1,18}", step) else None

    @property
    def noted(self) -> dict[str, float]:
        """Further numbers that the file's metadata say under `onnxrich.`, by what stands behind that."""
        number = re.compile(r"[-+]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,2})?")
        said = {name: value for name, value in self._marks.items() if name != "step" and number.fullmatch(value)}
        return {name: float(value) for name, value in said.items()}

    @property
    def _marks(self) -> dict[str, str]:
        entries = {entry.key: entry.value for entry in self.proto.metadata_props}
        return {key.removeprefix(MARK): value for key, value in entries.items() if key.startswith(MARK)}

    @property
    def parameters(self) -> int:
        """Number of parameters: elements of all initializers that hold no indices."""
        graph = self.proto.graph
        dense = (tensor for tensor in graph.initializer if tensor.data_type not in _NO_PARAMETERS)
        counts = [math.prod(tensor.dims) for tensor in dense]
        return sum(counts) + sum(math.prod(tensor.dims) for tensor in graph.sparse_initializer)


def read_model(model: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """The model of a path, of bytes or of a ModelProto.

    External data are not loaded, but checked to lie in the model's folder.

    Raises:
        ModelError: when there is no such file, or it is no ONNX model, or its external data are missing or elsewhere.
    """
    if isinstance(model, ModelProto):
        data, path, folder = model.SerializeToString(), "<ModelProto>", None
    elif isinstance(model, bytes):
        data, path, folder = model, "<bytes>", None
    elif not isinstance(model, str | os.PathLike):
        needed = "the path of an ONNX file, its bytes or a ModelProto"
        remedy = "Pass one of these; onnxrich.export(model, 'model.onnx') writes a framework's model as ONNX."
        raise ModelError(f"a model of type {type(model).__qualname__}", needed, remedy)
    else:
        path = os.fspath(model)
        data, folder = _read_file(Path(path)), Path(path).resolve().parent
    proto = _parse(data, path)
    digest = hashlib.sha256(data).hexdigest()
    simple = simplify(proto, path)
    if simple is not None:
        proto, data = simple, simple.SerializeToString()
    result = Model(proto, data, path, folder, digest)
    _check_external(result)
    return result


def _read_file(path: Path) -> bytes:
    with open_regular(path, ModelError, "a readable ONNX file") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise ModelError(
                f"{path} has {size:,} bytes",
                "at most 2 GiB in one protobuf file",
                "Save the model with external data (onnx.save_model(…, save_as_external_data=True)).",
            )
        return file.read()


def _parse(data: bytes, path: str) -> ModelProto:
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a git-lfs pointer", "the model itself", "Run `git lfs pull` first.")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is no ONNX model, or only a part of one ({len(data):,} bytes)",
            "a whole ONNX protobuf file",
            "Export or copy the model again. `onnxrich export` makes one of a framework's model.",
        ) from error
    lacks = "graph with nodes and outputs" if not proto.graph.node or not proto.graph.output else ""
    if lacks or not proto.opset_import:
        raise ModelError(
            f"{path} holds no {lacks or 'version of the operator set'}",
            "a whole ONNX model",
            "Export or copy the model again.",
        )
    _check_names(proto, path)
    return proto


def _input(value: onnx.ValueInfoProto) -> Input:
    kind = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except (KeyError, ValueError, TypeError):
        dtype = None
    if dtype is not None and (dtype.kind in "OUS" or not value.type.HasField("tensor_type")):
        dtype = None
    if not kind.HasField("shape"):
        return Input(value.name, dtype, None)
    return Input(value.name, dtype, tuple(_dimension(dim) for dim in kind.shape.dim))


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return dim.dim_param or None


def _check_names(proto: ModelProto, path: str) -> None:
    """Names must be text: protobuf passes on any bytes, which nothing behind it can compare with a name."""
    for part in _parts(proto):
        if isinstance(part, NodeProto):
            names = [*part.input, *part.output, part.name, part.op_type, part.domain]
        else:
            values = [value.name for value in (*part.input, *part.output, *part.value_info)]
            names = [part.name, *values, *(tensor.name for tensor in part.initializer)]
        broken = next((name for name in names if not isinstance(name, str)), None)
        if broken is not None:
            raise ModelError(f"{path} holds the name {broken!r}", "names in UTF-8", "Export the model again.")


def _check_external(model: Model) -> None:
    """External data must be regular files inside the model's folder, links resolved, and as long as the model says."""
    sizes: dict[str, int] = {}
    for tensor in iter_tensors(model.proto):
        if is_external(tensor):
            location, size = _location(model, tensor)
            sizes[location] = max(size, sizes.get(location, 0))
    for location, size in sorted(sizes.items()):
        what = f"{model.path}: external data {location!r}"
        if model.folder is None:
            raise ModelError(
                f"a model in memory with external data {location!r}",
                "a model with its weights",
                "Pass the path of the file.",
            )
        if not _is_inside(model.folder, location):
            raise ModelError(
                f"{what} lie outside the model's folder, or are named by an absolute path",
                "external data beside the model",
                "Move them beside the model and save it again; nothing outside is read.",
            )
        target = model.folder / location
        if not target.is_file():
            raise ModelError(f"{what} are missing", "that file beside the model", "Copy it there too.")
        if (have := target.stat().st_size) < size:
            raise ModelError(f"{what} have {have:,} bytes", f"{size:,} bytes", "Copy the whole file again.")


def _is_inside(folder: Path, location: str) -> bool:
    try:
        target = (folder / location).resolve()
        # Looking at it fails for names that no file can have; a link that leads nowhere is merely missing.
        target.is_file()
    except (OSError, RuntimeError, ValueError):
        return False
    return target.is_relative_to(folder) and target != folder and not Path(location).is_absolute()


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def _location(model: Model, tensor: TensorProto) -> tuple[str, int]:
    """The file in which a tensor's values lie, and where in it they end, as far as the model says."""
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = os.fsdecode(entries.get("location", ""))
    try:
        return location, int(entries.get("offset", 0)) + int(entries.get("length", 0))
    except ValueError as error:
        raise ModelError(
            f"{model.path}: external data {location!r} at no number ({error})",
            "an offset and a length in bytes",
            "Save the model again.",
        ) from error


def iter_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model, also those in subgraphs, attributes, functions and sparse initializers."""
    for part in _parts(proto):
        if isinstance(part, NodeProto):
            for attribute in part.attribute:
                yield from _attribute_tensors(attribute)
            continue
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _parts(proto: ModelProto) -> Iterator[GraphProto | NodeProto]:
    """Every graph and every node of the model, also those of subgraphs and functions."""
    # The defaults of a function's attributes are attributes too: they are shown as those of one more node.
    pending: list[GraphProto | NodeProto] = [proto.graph]
    for function in proto.functions:
        pending.extend([*function.node, NodeProto(attribute=function.attribute_proto)])
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, GraphProto):
            pending.extend(part.node)
            continue
        for attribute in part.attribute:
            pending.extend([attribute.g] if attribute.HasField("g") else [])
            pending.extend(attribute.graphs)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (
        *attribute.sparse_tensors,
        *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
    ):
        yield from (sparse.values, sparse.indices)
