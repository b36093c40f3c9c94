"""Constants of a model that hold NaN or infinity: what explains results that are no finite numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, helper

from onnxrich.errors import ModelError
from onnxrich.model.graph import Graph

# Operators in which −∞ is a weight. In others, such as Add and Where, it suppresses scores, which is no fault.
_PRODUCTS = frozenset(
    {"MatMul", "Gemm", "Conv", "ConvTranspose", "DequantizeLinear", "Mul", "Div", "LeakyRelu", "PRelu"}
)


def explain_not_finite(graph: Graph, tensor: str) -> str | None:
    """Name the first constant from which a tensor is computed that holds NaN or else infinity, and count its values.

    Args:
        graph: the graph of the model.
        tensor: name of the tensor.

    Returns:
        A clause such as "the initializer 'w' holds NaN in 3 of 48 values"; None where all constants are finite or can't
        be read.
    """
    constants = list(_constants(graph, tensor))
    for word, is_bad in (("NaN", lambda values, _: np.isnan(values)), ("infinity", _is_infinite)):
        for label, values, node in constants:
            count = int(np.count_nonzero(is_bad(values, node)))
            if count:
                return f"{label} holds {word} in {count:,} of {values.size:,} values"
    return None


def _is_infinite(values: NDArray[Any], node: NodeProto) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.isinf(values) if node.op_type in _PRODUCTS else np.isposinf(values)
    return found


def _constants(graph: Graph, tensor: str) -> Iterator[tuple[str, NDArray[Any], NodeProto]]:
    """Yield constants and attributes of floats, each with what to call it and the operator that takes it."""
    seen: set[str] = set()
    for name in sorted(graph.ancestors(tensor)):
        node = graph.producer(name)
        if node is None:
            continue
        for entry in node.attribute:
            if entry.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
                values = np.atleast_1d(np.array(helper.get_attribute_value(entry), np.float64))
                yield f"the attribute {entry.name!r} of the {node.op_type} that gives {name!r}", values, node
        for source in node.input:
            maker = graph.producer(source)
            if source in seen or (maker is not None and maker.op_type != "Constant") or not graph.is_constant(source):
                continue
            seen.add(source)
            try:
                values = graph.constant(source)
            except ModelError:  # a damaged constant: the run says so
                continue
            if values.dtype.kind == "f":
                yield f"the {'initializer' if maker is None else 'constant'} {source!r}", values, node
