"""Model files: reads an untrusted ONNX file, checks it, and describes its inputs."""

from __future__ import annotations

import hashlib
import io
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
from onnxrich.model.formats import check_format, check_location
from onnxrich.model.simplify import STANDARD, simplify

# The most bytes of a protobuf file. Larger models keep their weights as external data.
LARGEST_FILE = 2**31 - 1

# Prefix of the metadata that onnxrich reads.
METADATA_PREFIX = "onnxrich."

# Element types of initializers that hold indices and shapes instead of parameters.
_NO_PARAMETERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}


@dataclass(frozen=True)
class Input:
    """One input of a model.

    Attributes:
        name: its name in the graph.
        dtype: NumPy dtype; None when it is no numeric tensor.
        shape: for each axis an integer, the name of a symbolic dimension, or None when its size is unknown, as when an
            exporter writes a negative one; None when the rank is unknown.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, eq=False)
class Model:
    """A parsed model.

    Attributes:
        proto: the model, without its external data.
        data: its serialized bytes.
        path: its path as the user wrote it; "<bytes>" or "<ModelProto>" for models in memory.
        folder: the folder of its external data; None for models in memory.
        sha256: SHA-256 of the original bytes, in hexadecimal.
    """

    proto: ModelProto
    data: bytes
    path: str
    folder: Path | None
    sha256: str

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs to feed: graph inputs that are no initializers."""
        initializers = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(_input_of(value) for value in self.proto.graph.input if value.name not in initializers)

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

    @property
    def parameters(self) -> int:
        """Number of parameters: elements of all initializers that hold no indices or shapes."""
        graph = self.proto.graph
        dense = (tensor for tensor in graph.initializer if tensor.data_type not in _NO_PARAMETERS)
        counts = [math.prod(tensor.dims) for tensor in dense]
        return sum(counts) + sum(math.prod(tensor.dims) for tensor in graph.sparse_initializer)


def read_model(model: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """Read the model of a path, of bytes or of a ModelProto.

    External data are not loaded, but must lie in the model's folder.

    Raises:
        ModelError: when the file does not exist or is no ONNX model, or its external data are missing or elsewhere.
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
        data, folder = _read_file(Path(path)), Path(path).resolve().parent
    proto = _parse(data, path)
    digest = hashlib.sha256(data).hexdigest()
    simplified = simplify(proto, path)
    if simplified is not None:
        proto, data = simplified, simplified.SerializeToString()
    parsed = Model(proto, data, path, folder, digest)
    _check_external_data(parsed)
    return parsed


def _read_file(path: Path) -> bytes:
    with open_regular(path, ModelError, "a readable ONNX file") as file:
        check_format(file, str(path))
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_FILE:
            raise ModelError(
                f"{path} has {size:,} bytes",
                "at most 2 GiB in one protobuf file",
                "Save the model with external data (onnx.save_model(…, save_as_external_data=True)).",
            )
        return file.read()


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
    _check_names(proto, path)
    return proto


def _input_of(value: onnx.ValueInfoProto) -> Input:
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError, TypeError):
        dtype = None
    if dtype is not None and (dtype.kind in "OUS" or not value.type.HasField("tensor_type")):
        dtype = None
    if not tensor.HasField("shape"):
        return Input(value.name, dtype, None)
    return Input(value.name, dtype, tuple(_size_of(dim) for dim in tensor.shape.dim))


def _size_of(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return dim.dim_param or None


def _check_names(proto: ModelProto, path: str) -> None:
    """Check that names are text, because protobuf passes on any bytes, which compare unequal to every name."""
    for part in _parts(proto):
        if isinstance(part, NodeProto):
            names = [*part.input, *part.output, part.name, part.op_type, part.domain]
        else:
            values = [value.name for value in (*part.input, *part.output, *part.value_info)]
            names = [part.name, *values, *(tensor.name for tensor in part.initializer)]
        invalid = next((name for name in names if not isinstance(name, str)), None)
        if invalid is not None:
            raise ModelError(
                f"{path} contains the name {invalid!r}, which is not UTF-8", "names in UTF-8", "Export the model again."
            )


def _check_external_data(model: Model) -> None:
    """Check that external data are regular files in the model's folder, links resolved, and long enough."""
    sizes: dict[str, int] = {}
    for tensor in iter_tensors(model.proto):
        if is_external(tensor):
            location, size = _location_of(model, tensor)
            sizes[location] = max(size, sizes.get(location, 0))
    for location, size in sorted(sizes.items()):
        _check_external_file(model, location, size)


def _check_external_file(model: Model, location: str, size: int) -> None:
    name = f"{model.path}: external data {location!r}"
    if model.folder is None:
        raise ModelError(
            f"A model in memory has external data {location!r}",
            "a model with its weights",
            "Pass the path of the file.",
        )
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


def _is_inside(folder: Path, location: str) -> bool:
    try:
        path = (folder / location).resolve()
        # Fails for names that no file can have. A link that leads nowhere is merely missing.
        path.is_file()
    except (OSError, RuntimeError, ValueError):
        return False
    return path.is_relative_to(folder) and path != folder and not Path(location).is_absolute()


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def _location_of(model: Model, tensor: TensorProto) -> tuple[str, int]:
    """Read the file of a tensor's values, and the offset of their end in it as far as the model states it."""
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = os.fsdecode(entries.get("location", ""))
    try:
        return location, int(entries.get("offset", 0)) + int(entries.get("length", 0))
    except ValueError as error:
        raise ModelError(
            f"{model.path}: the position of external data {location!r} is no number ({error})",
            "an offset and a length in bytes",
            "Save the model again.",
        ) from error


def iter_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Iterate over all tensors of a model, also in subgraphs, attributes, functions and sparse initializers."""
    for part in _parts(proto):
        if isinstance(part, NodeProto):
            for attribute in part.attribute:
                yield from _attribute_tensors(attribute)
            continue
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _parts(proto: ModelProto) -> Iterator[GraphProto | NodeProto]:
    """Iterate over all graphs and nodes of a model, also in subgraphs and functions.

    The default attributes of a function come as those of one more node.
    """
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
    sparse_tensors = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*attribute.sparse_tensors, *sparse_tensors):
        yield from (sparse.values, sparse.indices)
