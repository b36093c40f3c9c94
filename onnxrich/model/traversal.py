"""All graphs, nodes and tensors of a model, wherever they hide: in subgraphs, attributes, functions, sparse tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's values lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def iter_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    """Iterate over all tensors of a model, also in subgraphs, attributes, functions and sparse initializers."""
    for part in iter_parts(proto):
        if isinstance(part, NodeProto):
            for attribute in part.attribute:
                yield from _attribute_tensors(attribute)
            continue
        yield from part.initializer
        for sparse in part.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def iter_nodes(proto: ModelProto) -> Iterator[NodeProto]:
    """Iterate over all nodes of a model, also in subgraphs and functions."""
    return (part for part in iter_parts(proto) if isinstance(part, NodeProto) and part.op_type)


def iter_parts(proto: ModelProto) -> Iterator[GraphProto | NodeProto]:
    """Iterate over all graphs and nodes of a model, also in subgraphs and functions.

    The default attributes of a function come as those of one more node.
    """
    parts: list[GraphProto | NodeProto] = [proto.graph]
    for function in proto.functions:
        parts.extend([*function.node, NodeProto(attribute=function.attribute_proto)])
    return iter_below(parts)


def iter_below(parts: Iterable[GraphProto | NodeProto]) -> Iterator[GraphProto | NodeProto]:
    """Iterate over graphs and nodes, and over all those that they contain."""
    pending = [*parts]
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
