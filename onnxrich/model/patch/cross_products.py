"""Small model of our own that sums the products of several models' features, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxrich.model.patch.rows import Part

# Any runtime that runs the patched models supports these.
OPSET, IR_VERSION = 13, 8


@dataclass(frozen=True)
class CrossProductModel:
    """The model, and the names of its inputs and outputs.

    A run takes the features of one batch and the accumulators, and gives the next accumulators. Accumulator j is
    Σ w (φᵃ − shiftᵃ)(φᵇ − shiftᵇ)ᵀ of the j-th pair (a, b).

    Attributes:
        data: serialized ModelProto.
        features: inputs of shape (at least rows, p), one a model; the model ignores what lies behind the rows.
        weights: inputs, float64 of shape (1, rows), one a model.
        shift: input, float64 of shape (1, Σ p).
        accumulators: inputs, one a pair.
        accumulated: outputs, in the order of `accumulators`.
        pairs: numbers of the two models of each pair, the smaller first.
        shapes: of the accumulators.
    """

    data: bytes
    features: tuple[str, ...]
    weights: tuple[str, ...]
    shift: str
    accumulators: tuple[str, ...]
    accumulated: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, int], ...]


def build_cross_product_model(features: Sequence[Part], pairs: Sequence[tuple[int, int]]) -> CrossProductModel:
    """Build the model that sums Σ w φᵃ φᵇᵀ of pairs of models.

    Args:
        features: the features that the patch of each model outputs.
        pairs: numbers of the models of each pair.
    """
    numbers, widths = range(len(features)), [part.width for part in features]
    shapes = tuple((widths[a], widths[b]) for a, b in pairs)
    before, after = (tuple(f"{name}.{a}.{b}" for a, b in pairs) for name in ("sum", "sum.next"))
    nodes = [node for i in numbers for node in _centering(i)]
    nodes += [
        helper.make_node("Gemm", [f"weighted.{a}", f"centered.{b}", before[j]], [after[j]], transB=1)
        for j, (a, b) in enumerate(pairs)
    ]
    edges = np.cumsum([0, *widths])
    integers = {"zero": 0, "one": 1} | {f"edge.{i}": edge for i, edge in enumerate(edges)}
    inputs = [_table(f"features.{i}", [f"rows.{i}", part.width], part.elements) for i, part in enumerate(features)]
    inputs += [_table(f"weights.{i}", [1, f"table.{i}"]) for i in numbers]
    inputs += [_table("shift", [1, int(edges[-1])]), *map(_table, before, shapes)]
    constants = [numpy_helper.from_array(np.array([value], dtype=np.int64), name) for name, value in integers.items()]
    graph = helper.make_graph(nodes, "cross", inputs, list(map(_table, after, shapes)), constants)
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return CrossProductModel(
        data=model.SerializeToString(),
        features=tuple(f"features.{i}" for i in numbers),
        weights=tuple(f"weights.{i}" for i in numbers),
        shift="shift",
        accumulators=before,
        accumulated=after,
        pairs=tuple(pairs),
        shapes=shapes,
    )


def _centering(i: int) -> list[NodeProto]:
    """Make the nodes that subtract the shift from a model's features, and weight their rows."""
    return [
        helper.make_node("Shape", [f"weights.{i}"], [f"shape.{i}"]),
        helper.make_node("Gather", [f"shape.{i}", "one"], [f"count.{i}"]),
        helper.make_node("Slice", [f"features.{i}", "zero", f"count.{i}", "zero"], [f"rows.of.{i}"]),
        helper.make_node("Transpose", [f"rows.of.{i}"], [f"table.{i}"], perm=[1, 0]),
        helper.make_node("Cast", [f"table.{i}"], [f"double.{i}"], to=TensorProto.DOUBLE),
        helper.make_node("Slice", ["shift", f"edge.{i}", f"edge.{i + 1}", "one"], [f"row.{i}"]),
        helper.make_node("Transpose", [f"row.{i}"], [f"shift.{i}"]),
        helper.make_node("Sub", [f"double.{i}", f"shift.{i}"], [f"centered.{i}"]),
        helper.make_node("Mul", [f"centered.{i}", f"weights.{i}"], [f"weighted.{i}"]),
    ]


def _table(name: str, shape: Sequence[int | str], elements: int = TensorProto.DOUBLE) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, elements, list(shape))
