"""Make a fixed batch size symbolic, where a run shows that it changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from onnxrich.data.source import Batch
from onnxrich.engine.batches import padded, pieces
from onnxrich.engine.runtime import Choice, Session
from onnxrich.errors import ModelError
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.model.patch import instrument as rewrite
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# Batches of the fixed size that are run one by one and at once, to compare; one sample more shows what is cut off.
COMPARED = 3


def open_batch_axis(model: Model, head: Head | UnmeasuredHead, first: Batch, size: int, device: Choice) -> Model | None:
    """The model with a symbolic batch dimension, when it then gives the same rows; None when it doesn't.

    A model can hold its batch size inside, in the target of a Reshape or in a state, so nothing but a run tells.

    Args:
        model: a model whose inputs all fix their first dimension.
        head: its head.
        first: some rows, more than one batch of the fixed size for a proof.
        size: the fixed size.
        device: where to run.
    """
    rows = min(first.rows, COMPARED * size + 1)
    if isinstance(head, UnmeasuredHead) or rows <= size:
        return None
    sample = next(pieces(first, rows))
    free = _symbolic(model, size)
    try:
        together = _run(free, head, sample, device)
    except ModelError:
        return None
    apart = [_run(model, head, padded(piece, size), device) for piece in pieces(sample, size)]
    for at, whole in enumerate(together):
        parts = np.concatenate([part[at] for part in apart])
        expected = parts[: len(parts) // (len(apart) * size) * rows]
        if whole.shape != expected.shape or not np.isfinite(expected).all():
            return None
        # Sums in another order differ by some eps of the largest value.
        if not np.abs(whole - expected).max() <= _room(head) * np.abs(expected).max():
            return None
    return free


def _room(head: Head) -> float:
    dtype = head.affine.dtype if head.affine else "float32"
    return 64 * EPS[dtype]


def _run(model: Model, head: Head, batch: Batch, device: Choice) -> list[Array]:
    patch, names = rewrite.expose_rows(model, head)
    session = Session([model.data, patch], folder=model.folder, device=device, name=model.path)
    return [rows.astype(np.float64) for rows in session.run(names, batch.inputs)]


def _symbolic(model: Model, size: int) -> Model:
    proto = ModelProto.FromString(model.data)
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == size:
            dims[0].dim_param = "onnxrich_batch"
    # What the file says of inner tensors was inferred for the fixed size.
    del proto.graph.value_info[:]
    return replace(model, proto=proto, data=proto.SerializeToString())
