"""Symbolic batch dimension for a model with a fixed batch size, where a run proves that the rows stay the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from onnxrich.data.source import Batch
from onnxrich.engine.batches import pad, split
from onnxrich.engine.runtime import Device, Session
from onnxrich.errors import ModelError
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.model.patch.instrument import expose_rows
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# Batches of the fixed size that are run one by one and together. One more sample shows a result that is cut off.
COMPARED_BATCHES = 3


def open_batch_axis(
    model: Model, head: Head | UnmeasuredHead, first: Batch, *, size: int, device: Device
) -> Model | None:
    """Make the batch dimension of a model symbolic. Return None where the rows then differ.

    A model can hold its batch size inside, in the target of a Reshape or in a state, so only a run can prove it open.

    Args:
        model: a model whose inputs all fix their first dimension.
        head: its head.
        first: some rows; a proof needs more than one batch of the fixed size.
        size: the fixed batch size.
        device: where to run.
    """
    rows = min(first.rows, COMPARED_BATCHES * size + 1)
    if isinstance(head, UnmeasuredHead) or rows <= size:
        return None
    sample = next(split(first, rows))
    open_model = _with_symbolic_batch(model, size)
    try:
        joint_tables = _run(open_model, head, sample, device=device)
    except ModelError:
        return None
    single_tables = [_run(model, head, pad(batch, size), device=device) for batch in split(sample, size)]
    for joint_rows, *single_rows in zip(joint_tables, *single_tables, strict=True):
        expected = np.concatenate(single_rows)
        expected = expected[: len(expected) // (len(single_rows) * size) * rows]
        if joint_rows.shape != expected.shape or not np.isfinite(expected).all():
            return None
        # Sums in another order differ by a few eps of the largest value.
        if not np.abs(joint_rows - expected).max() <= _tolerance(head) * np.abs(expected).max():
            return None
    return open_model


def _tolerance(head: Head) -> float:
    dtype = head.affine.dtype if head.affine else "float32"
    return 64 * EPS[dtype]


def _run(model: Model, head: Head, batch: Batch, *, device: Device) -> list[Array]:
    """Features and outputs of a batch, in double."""
    patch, names = expose_rows(model, head)
    session = Session([model.data, patch], folder=model.folder, device=device, name=model.path)
    return [rows.astype(np.float64) for rows in session.run(names, batch.feed)]


def _with_symbolic_batch(model: Model, size: int) -> Model:
    proto = ModelProto.FromString(model.data)
    for value in (*proto.graph.input, *proto.graph.output):
        dims, axis = value.type.tensor_type.shape.dim, model.batch_axes.get(value.name, 0)
        if axis < len(dims) and dims[axis].dim_value == size:
            dims[axis].dim_param = "onnxrich_batch"
    # The shapes of inner tensors in the file were inferred for the fixed size.
    del proto.graph.value_info[:]
    return replace(model, proto=proto, data=proto.SerializeToString())
