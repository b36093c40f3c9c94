"""Patch that counts the decisions of readouts of the features, for the rows of a run, in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxrich.model.file import Model
from onnxrich.model.head.head import Head
from onnxrich.model.mask import Mask
from onnxrich.model.patch.builder import Builder, unused_prefix
from onnxrich.model.patch.rows import add_logits, add_tables
from onnxrich.moments.matrix import Array


@dataclass(frozen=True)
class DecisionPatch:
    """The bytes to append to a model, and the names of the inputs and outputs that they add.

    Attributes:
        data: serialized ModelProto.
        weights: input, float64 of shape (samples or rows, 1); None when all rows count.
        targets: input, float64 of shape (samples or rows, K).
        counts: output, float64 of shape (1 + 2·readouts, 1): the weight of all rows, then for each readout the weight
            of the rows whose class it names, and of those in which it agrees with the model.
    """

    data: bytes
    weights: str | None
    targets: str
    counts: str


def build_decision_patch(
    model: Model,
    head: Head,
    readouts: Sequence[tuple[Array, Array]],
    *,
    K: int,
    classes: Sequence[int] | None = None,
    masked: bool = False,
    mask: Mask | None = None,
    by_row: bool = False,
) -> DecisionPatch:
    """Build the patch that counts decisions. No name of the model is reused.

    Args:
        model: the model.
        head: its head, whose outputs correspond to the classes.
        readouts: weight, float64 array of shape (K, p), and bias, of shape (K,), of each readout.
        K: number of classes that have a column in the targets.
        classes: their numbers, where these are not 0 to K − 1.
        masked: whether rows can have weight 0.
        mask: the model's mask of the rows.
        by_row: whether weights and targets come for each row instead of for each sample.
    """
    build = Builder(unused_prefix(model), model.opset)
    tables = add_tables(build, head, K=K, masked=masked, mask=mask, by_row=by_row)
    features, logits = build.cast(tables.features.name, TensorProto.DOUBLE), add_logits(build, tables.outputs)
    labels, model_choices = build.choose(tables.labels, classes), build.choose(logits)
    columns = [build.ones(tables.features.name)]
    for weight, bias in readouts:
        scores = build.add("MatMul", [features, build.constant(np.ascontiguousarray(weight.T))])
        scores = build.add("Add", [scores, build.constant(bias[None])])
        choices = build.choose(scores, classes)
        matches = [build.add("Equal", [choices, reference]) for reference in (labels, model_choices)]
        columns += [build.cast(match, TensorProto.DOUBLE) for match in matches]
    hits = build.add("Concat", columns, axis=1)
    counts = build.add("MatMul", [build.transpose(hits), tables.one.name], "counts")
    build.output(counts, len(columns), 1)
    names = tables.row_inputs
    return DecisionPatch(build.serialize(), names.get("weights"), names["targets"], counts)
