"""A model file, read without trusting it: its protobuf, its bytes, its signature."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from onnxrich.errors import ModelError
from onnxrich.files import open_regular
from onnxrich.simplify import simplify

# Protobuf can't hold more in one file; larger models keep their weights as external data.
LARGEST_FILE = 2**31 - 1

# Types of initializers that hold indices and shapes rather than parameters.
_NO_PARAMETERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: its name in the graph.
        dtype: NumPy dtype, None when it is no numeric tensor.
        shape: integers, names of symbolic dimensions, or None where nothing is known; None for an unknown rank.
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
    def parameters(self) -> int:
        """Number of parameters: elements of all initializers that hold no indices."""
        graph = self.proto.graph
        dense = (tensor for tensor in graph.initializer if tensor.data_type not in _NO_PARAMETERS)
        return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in dense) + sum(
            int(np.prod(tensor.dims, dtype=np.int64)) for tensor in graph.sparse_initializer
        )


def read(model: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """The model of a path, of bytes or of a ModelProto.

    External data are not loaded, but checked to lie in the model's folder.

    Raises:
        ModelError: when there is no such file, or it is no ONNX model, or its external data are missing or elsewhere.
    """
    if isinstance(model, ModelProto):
        data, path, folder = model.SerializeToString(), "<ModelProto>", None
    elif isinstance(model, bytes):
        data, path, folder = model, "<bytes>", None
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
            "Export or copy the model again.",
        ) from error
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(
            f"{path} holds no graph with nodes and outputs", "an ONNX model", "Export or copy the model again."
        )
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
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in kind.shape.dim)
    return Input(value.name, dtype, shape)


def _check_external(model: Model) -> None:
    """External data must be regular files inside the model's folder, links resolved."""
    for location in sorted({_location(tensor) for tensor in tensors(model.proto) if is_external(tensor)}):
        if model.folder is None:
            raise ModelError(
                f"a model in memory with external data {location!r}",
                "a model with its weights",
                "Pass the path of the file.",
            )
        target = (model.folder / location).resolve() if "\0" not in location else model.folder
        if not target.is_relative_to(model.folder) or target == model.folder:
            raise ModelError(
                f"{model.path}: external data {location!r} lie outside the model's folder",
                "external data beside the model",
                "Move them beside the model and save it again; nothing outside is read.",
            )
        if not target.is_file():
            raise ModelError(
                f"{model.path}: external data {location!r} are missing",
                "that file beside the model",
                "Copy it there too.",
            )


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def _location(tensor: TensorProto) -> str:
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    return entries.get("location", "")


def tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model, also those in subgraphs, attributes, functions and sparse initializers."""
    graphs: list[GraphProto] = [proto.graph]
    nodes: list[NodeProto] = [node for function in proto.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from _attribute_tensors(attribute)
            graphs.extend([attribute.g] if attribute.HasField("g") else [])
            graphs.extend(attribute.graphs)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (
        *attribute.sparse_tensors,
        *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
    ):
        yield from (sparse.values, sparse.indices)
