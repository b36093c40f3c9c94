"""The patch that counts what readouts of the features decide: for the rows of a run, in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxrich.model.file import Model
from onnxrich.model.head.head import Head
from onnxrich.model.patch.builder import Builder, prefix
from onnxrich.model.patch.rows import lay_out
from onnxrich.moments.matrix import Array


@dataclass(frozen=True)
class DecisionPatch:
    """What to append to a model, and the names by which to drive it.

    Attributes:
        data: serialized ModelProto.
        weights: input, float64 of shape (samples or rows, 1); None where all rows count.
        targets: input, float64 of shape (samples or rows, K).
        counts: output, float64 of shape (1 + 2·readouts, 1): the rows' weight, and for each readout that of the rows of
            which it names the class, and of those in which it agrees with the model.
    """

    data: bytes
    weights: str | None
    targets: str
    counts: str


def decision_patch(
    model: Model,
    head: Head,
    readouts: Sequence[tuple[Array, Array]],
    *,
    K: int,
    masked: bool = False,
    mask: str | None = None,
    by_row: bool = False,
) -> DecisionPatch:
    """The patch that counts decisions.

    Requires a head whose widths are known, and outputs that correspond to K classes; ensures that no name is taken.

    Args:
        model: the model.
        head: its head.
        readouts: weight, float64 array of shape (K, p), and bias, of shape (K,), of each.
        K: number of classes.
        masked: whether rows can have weight 0.
        mask: input of the model that is 0 for rows to be left out.
        by_row: whether weights and targets come for each row.
    """
    build = Builder(prefix(model), model.opset)
    tables = lay_out(build, head, K=K, masked=masked, mask=mask, by_row=by_row)
    features, logits = (build.cast(part.name, TensorProto.DOUBLE) for part in (tables.features, tables.outputs))
    if head.C == 1:
        logits = build.add("Concat", [build.add("Sub", [logits, logits]), logits], axis=1)
    right, own = (build.add("ArgMax", [table], axis=1) for table in (tables.labels, logits))
    hits = [build.ones(tables.features.name)]
    for weight, bias in readouts:
        scores = build.add("MatMul", [features, build.constant(np.ascontiguousarray(weight.T))])
        scores = build.add("Add", [scores, build.constant(bias[None])])
        decided = build.add("ArgMax", [scores], axis=1)
        hits += [build.cast(build.add("Equal", [decided, other]), TensorProto.DOUBLE) for other in (right, own)]
    stacked = build.add("Concat", hits, axis=1)
    counts = build.add("MatMul", [build.transposed(stacked), tables.one.name], "counts")
    build.output(counts, len(hits), 1)
    return DecisionPatch(build.serialize(), tables.fed.get("weights"), tables.fed["targets"], counts)
