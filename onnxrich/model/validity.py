"""What ONNX prescribes and protobuf does not check, so that whoever reads a model can rely on it.

The file is untrusted. Only what ONNX Runtime refuses too is refused here, except for sizes: these are bounded because
the libraries behind onnxrich take quadratic or exponential time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import cast

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
)

from onnxrich.errors import ModelError, OnnxrichError
from onnxrich.model.traversal import is_external, iter_below, iter_parts, iter_tensors

# Names of the default operator set.
STANDARD = ("", "ai.onnx")
# Operators, functions expanded, and initializers of a model, at most: ONNX Runtime takes time that grows as the square,
# minutes for so many. The largest exports, of quantised language models and unrolled recurrences, have some 30,000.
MOST_PARTS = 2**16
# Functions that call one another, at most, as in ONNX's own shape inference.
DEEPEST_CALLS = 100
# Axes of a tensor, at most: those of an array in NumPy.
MOST_AXES = 64
# Sizes of a shape that a message gives.
_LONGEST_SHAPE = 8
_CHECK = "Check the model with onnx.checker.check_model(model, full_check=True)."
_AGAIN = "Export or copy the model again."
# Bits of elements that take less than a byte.
_BITS: dict[int, int] = {
    TensorProto.UINT4: 4, TensorProto.INT4: 4, TensorProto.FLOAT4E2M1: 4, TensorProto.UINT2: 2, TensorProto.INT2: 2,
}  # fmt: skip
# Types whose elements no rule of packing is applied to.
_UNPACKED = {"FLOAT6E2M3", "FLOAT6E3M2"}
# The field of an attribute that holds a single message, by its type.
_MESSAGES: dict[int, str] = {
    AttributeProto.TENSOR: "t", AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
}  # fmt: skip

# An operator or a function: its domain, name and overload.
_Called = tuple[str, str, str]


def check_validity(proto: ModelProto, path: str) -> None:
    """Check names, sizes, operators, tensors and functions of a model.

    Raises:
        ModelError: when something is not as ONNX prescribes, or when the model is too large to be analysed.
    """
    _check_names(proto, path)
    _check_functions(proto, path)
    _check_operators(proto, path)
    for tensor in iter_tensors(proto):
        _check_tensor(tensor, path)
    for graph in (part for part in iter_parts(proto) if isinstance(part, GraphProto)):
        _check_sparse(graph, path)


@contextlib.contextmanager
def refuse_malformed(what: str) -> Iterator[None]:
    """Refuse a model whose operators contradict each other in a way that only whoever reads them notices.

    Args:
        what: the part of the model that is read, for the message.

    Raises:
        ModelError: for each error that a value of a wrong type, shape or size raises.
    """
    try:
        with np.errstate(all="ignore"):  # numbers that are not finite are found where they are used
            yield
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, OnnxrichError):
            raise
        raise ModelError(
            f"{what} is malformed ({type(error).__name__})",
            "operators with the inputs and attributes that ONNX prescribes",
            _CHECK,
        ) from error


# Names


def _check_names(proto: ModelProto, path: str) -> None:
    """Check that names are text, because protobuf passes on any bytes, which compare unequal to every name."""
    for scope in _scopes(proto):
        _check_texts(chain.from_iterable(_texts_around(scope)), path)
    for part in iter_parts(proto):
        _check_texts(_texts_of(part), path)


def _scopes(proto: ModelProto) -> list[ModelProto | FunctionProto]:
    return [proto, *proto.functions]


def _check_texts(names: Iterable[str], path: str) -> None:
    invalid = next((name for name in names if not isinstance(name, str)), None)
    if invalid is not None:
        raise ModelError(
            f"{path} contains the name {invalid!r}, which is not UTF-8", "names in UTF-8", "Export the model again."
        )


def _texts_around(part: ModelProto | FunctionProto) -> Iterator[Iterable[str]]:
    """Texts of a model or function outside of its graph."""
    yield from ((entry.key, entry.value) for entry in part.metadata_props)
    yield (entry.domain for entry in part.opset_import)
    yield (part.domain, part.producer_name, part.producer_version) if isinstance(part, ModelProto) else (
        part.domain, part.name, part.overload, *part.input, *part.output, *part.attribute
    )  # fmt: skip


def _texts_of(part: GraphProto | NodeProto) -> Iterable[str]:
    if isinstance(part, NodeProto):
        attributes = (name for entry in part.attribute for name in (entry.name, entry.ref_attr_name))
        metadata = (text for entry in part.metadata_props for text in (entry.key, entry.value))
        names = (part.name, part.op_type, part.domain, part.overload)
        return chain(part.input, part.output, names, attributes, metadata)
    values = [*part.input, *part.output, *part.value_info]
    symbols = (dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim)
    sparse = (tensor.values.name for tensor in part.sparse_initializer)
    return chain(
        [part.name], (value.name for value in values), symbols, (tensor.name for tensor in part.initializer), sparse
    )


# Functions, and the size of a model


def _check_functions(proto: ModelProto, path: str) -> None:
    """Check that functions end, and that the model without them has a size that the libraries can take."""
    nodes = _count_expanded(proto, path)
    initializers = max(len(part.initializer) for part in iter_parts(proto) if isinstance(part, GraphProto))
    for count, what in ((nodes, "operators"), (initializers, "initializers")):
        if count > MOST_PARTS:
            raise ModelError(
                f"{path} has {_count_text(count)} {what}",
                f"at most {MOST_PARTS:,}, for ONNX Runtime takes minutes to load so many",
                "Simplify the model, or export a smaller part of it.",
            )


def _count_text(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"10^{len(str(count)) - 1}"


def _count_expanded(proto: ModelProto, path: str) -> int:
    """Count the operators of a model once its functions are expanded, without expanding them."""
    calls = {(each.domain, each.name, each.overload): list(_called(each.node)) for each in proto.functions}
    sizes: dict[_Called, int] = {}
    for key in _in_order_of_calls(calls, path):
        sizes[key] = _expanded(calls[key], sizes)
    return _expanded(list(_called(proto.graph.node)), sizes)


def _called(nodes: Iterable[NodeProto]) -> Iterator[_Called]:
    """What nodes and those of their subgraphs call: an operator or a function."""
    pending = [*nodes]
    while pending:
        node = pending.pop()
        yield node.domain, node.op_type, node.overload
        for entry in node.attribute:
            for graph in [*([entry.g] if entry.HasField("g") else []), *entry.graphs]:
                pending.extend(graph.node)


def _expanded(called: list[_Called], sizes: Mapping[_Called, int]) -> int:
    return sum(sizes.get(key, 1) for key in called)


def _in_order_of_calls(calls: Mapping[_Called, list[_Called]], path: str) -> Iterator[_Called]:
    """Iterate over functions, each behind those that it calls.

    Raises:
        ModelError: when functions call themselves, or one another over too many levels.
    """
    levels: dict[_Called, int] = {}
    for first in calls:
        pending = [(first, False)]
        open_calls: set[_Called] = set()
        while pending:
            key, is_back = pending.pop()
            if is_back:
                open_calls.discard(key)
                levels[key] = 1 + max((levels[called] for called in calls[key] if called in calls), default=0)
                if levels[key] > DEEPEST_CALLS:
                    raise _endless(path, f"the function {key[1]!r} calls others over more than {DEEPEST_CALLS} levels")
                yield key
            elif key in open_calls:
                raise _endless(path, f"the function {key[1]!r} calls itself")
            elif key not in levels:
                open_calls.add(key)
                pending.append((key, True))
                pending.extend((called, False) for called in dict.fromkeys(calls[key]) if called in calls)


def _endless(path: str, reason: str) -> ModelError:
    return ModelError(
        f"The local functions of {path} can't be inlined: {reason}",
        "functions that are defined and don't call themselves",
        "Export the model without functions.",
    )


# Operators


@dataclass(frozen=True)
class _Signature:
    """What ONNX prescribes for an operator: least and most inputs and outputs, attributes by name, those required."""

    inputs: tuple[int, int]
    outputs: tuple[int, int]
    types: Mapping[str, int]
    required: frozenset[str]


@cache
def _signature(operator: str, domain: str, version: int) -> _Signature | None:
    """Look up an operator; None when this ONNX does not know it or its operator set."""
    if not 0 < version <= onnx.defs.onnx_opset_version() and domain == "":
        return None
    try:
        schema = onnx.defs.get_schema(operator, version, domain)
    except (onnx.defs.SchemaError, TypeError):  # a version may be no int32
        return None
    attributes = schema.attributes
    return _Signature(
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        {name: cast(int, attribute.type) for name, attribute in attributes.items()},
        frozenset(name for name, attribute in attributes.items() if attribute.required),
    )


def _check_operators(proto: ModelProto, path: str) -> None:
    """Check that operators have the inputs and attributes that ONNX prescribes: whoever reads them relies on it."""
    for scope in _scopes(proto):
        # A function has operator sets of its own.
        versions = {"" if entry.domain in STANDARD else entry.domain: entry.version for entry in scope.opset_import}
        # Not by a message around them, which would copy all weights.
        nodes = scope.graph.node if isinstance(scope, ModelProto) else scope.node
        for node in (part for part in iter_below(nodes) if isinstance(part, NodeProto)):
            domain = "" if node.domain in STANDARD else node.domain
            _check_attributes(node, path)
            signature = _signature(node.op_type, domain, versions.get(domain, 0))
            if signature is not None:
                _check_signature(node, signature, path)


def _check_signature(node: NodeProto, signature: _Signature, path: str) -> None:
    counts = ((len(node.input), signature.inputs, "inputs"), (len(node.output), signature.outputs, "outputs"))
    for count, (least, most), what in counts:
        if not least <= count <= most:
            needed = f"at least {least}" if count < least else f"at most {most}"
            raise ModelError(f"{path} contains {_named(node)} with {count} {what}", needed, _CHECK)
    for entry in node.attribute:
        prescribed = signature.types.get(entry.name, entry.type)
        if entry.type != prescribed:
            types = AttributeProto.AttributeType
            raise ModelError(
                f"{path} contains {_named(node)} whose attribute {entry.name!r} has the type {types.Name(entry.type)}",
                types.Name(prescribed),
                _CHECK,
            )
    missing = signature.required - {entry.name for entry in node.attribute}
    if missing:
        raise ModelError(f"{path} contains {_named(node)} without its attribute {min(missing)!r}", "it", _CHECK)


def _check_attributes(node: NodeProto, path: str) -> None:
    names = [entry.name for entry in node.attribute]
    if len(set(names)) < len(names):
        raise ModelError(f"{path} contains {_named(node)} with an attribute twice", "each once", _CHECK)
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH and node.op_type == "If" and len(entry.g.output) < len(node.output):
            raise ModelError(
                f"{path} contains {_named(node)} whose {entry.name} has {len(entry.g.output)} outputs",
                f"{len(node.output)}, as the operator has",
                _CHECK,
            )
        field = _MESSAGES.get(entry.type)
        if field is not None and not entry.HasField(field) and not entry.ref_attr_name:
            raise ModelError(
                f"{path} contains {_named(node)} whose attribute {entry.name!r} is empty", "its value", _CHECK
            )


def _named(node: NodeProto) -> str:
    return f"the operator {node.op_type} {node.name!r}"


# Tensors


def byte_count(tensor: TensorProto) -> int | None:
    """Count the bytes that the values of a tensor take by its type and shape; None for text and unknown packings."""
    bits = _bits(tensor.data_type)
    return None if bits is None else -(-math.prod(tensor.dims) * bits // 8)


@cache
def _bits(data_type: int) -> int | None:
    is_text = data_type == TensorProto.STRING or TensorProto.DataType.Name(data_type) in _UNPACKED
    return None if is_text else _BITS.get(data_type, 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _check_tensor(tensor: TensorProto, path: str) -> None:
    """Check that a tensor's type is known, and that it holds as many values as its shape says."""
    name = f"{path}: tensor {tensor.name!r}"
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ModelError(f"{name} has the unknown type {tensor.data_type}", "a type of ONNX", _AGAIN)
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > MOST_AXES or tensor.HasField("segment"):
        raise ModelError(
            f"{name} has the shape {_shape_text(tensor)}", f"up to {MOST_AXES} axes, without negative sizes", _AGAIN
        )
    if is_external(tensor):
        return
    count, bytes_ = math.prod(tensor.dims), byte_count(tensor)
    if tensor.HasField("raw_data"):
        if bytes_ is not None and len(tensor.raw_data) != bytes_:
            raise _wrong_size(name, tensor, f"{len(tensor.raw_data):,} bytes", f"{bytes_:,}")
        return
    values = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    needed = _entries(tensor.data_type, count)
    if values != needed:
        raise _wrong_size(name, tensor, f"{values:,} values", f"{needed:,}")


def _entries(data_type: int, count: int) -> int:
    """Count the entries of a typed field that so many elements take."""
    if data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return 2 * count
    return -(-count * _BITS.get(data_type, 8) // 8)


def _wrong_size(name: str, tensor: TensorProto, found: str, needed: str) -> ModelError:
    return ModelError(f"{name} of shape {_shape_text(tensor)} holds {found}", needed, _AGAIN)


def _shape_text(tensor: TensorProto | SparseTensorProto) -> str:
    more = ["…"] if len(tensor.dims) > _LONGEST_SHAPE else []
    return f"({', '.join([*map(str, tensor.dims[:_LONGEST_SHAPE]), *more])})"


def _check_sparse(graph: GraphProto, path: str) -> None:
    for sparse in graph.sparse_initializer:
        if any(size < 0 for size in sparse.dims) or sparse.indices.data_type != TensorProto.INT64:
            raise ModelError(
                f"{path}: sparse tensor {sparse.values.name!r} has the shape {_shape_text(sparse)}, or no indices",
                "a shape without negative sizes, and indices",
                _AGAIN,
            )
