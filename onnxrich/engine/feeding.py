"""What a patched model is fed: whole batches, weights of rows, and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import padded
from onnxrich.errors import DataError
from onnxrich.model.patch.decisions import Judge
from onnxrich.model.patch.instrument import Patch
from onnxrich.moments.matrix import Array
from onnxrich.moments.targets import TargetKind, one_hot

# The input that says which tokens are padding, by the name that exporters of transformers give it.
USUAL_MASK = "attention_mask"


@dataclass(frozen=True)
class Plan:
    """How batches are fed.

    Attributes:
        size: samples in a batch.
        fixed: whether the model fixes that, so that a short batch is padded.
        K: number of targets, 0 without labels.
        targets: their kind.
        by_row: whether labels are classes of tokens or positions; those below zero are left out.
        mask: input of the model that is 0 for rows to be left out.
        runs: how many runs are to be added by one product of their rows.
    """

    size: int
    fixed: bool
    K: int
    targets: TargetKind | None
    by_row: bool = False
    mask: str | None = None
    runs: int = 1

    @property
    def counts(self) -> bool:
        """Whether some rows have weight 0."""
        return self.fixed or self.by_row or self.mask is not None


def usable_mask(first: Batch, each: int, asked: str | None) -> str | None:
    """The input that masks rows, where a sample has several; the usual one unless another is asked for.

    Raises:
        DataError: when the one that is asked for has no entry for each row, or other values than 0 and 1.
    """
    name = asked or USUAL_MASK
    array = first.inputs.get(name)
    fits = array is not None and each > 1 and array.size == each * first.rows
    if asked is not None and not fits:
        shape = "no such input" if array is None else f"an input of shape {array.shape}"
        raise DataError(
            f"mask {asked!r}: {shape}, and {each} rows a sample",
            "an input of the model with one entry for each token or position",
            f"Pass one of {', '.join(map(repr, first.inputs))} to --mask, or leave it out.",
        )
    if fits and array is not None:
        _check_mask(name, array)
    return name if fits else None


def _check_mask(name: str, array: AnyArray) -> None:
    if not np.isin(array, (0, 1)).all():
        raise DataError(
            f"mask {name!r} with values from {array.min()} to {array.max()}",
            "0 for padding and 1 for the rest",
            "Pass such a mask, or another input to --mask.",
        )


def feed(patch: Patch | Judge, plan: Plan, batch: Batch) -> dict[str, AnyArray]:
    """What the patched model takes for a batch; padded where the model fixes the batch size.

    Raises:
        DataError: when the mask holds other values than 0 and 1, which would weigh rows.
    """
    if plan.mask is not None:
        _check_mask(plan.mask, batch.inputs[plan.mask])
    whole = padded(batch, plan.size) if plan.fixed else batch
    fed = dict(whole.inputs)
    weights = np.ones((whole.rows, 1))
    weights[batch.rows :] = 0.0
    labels = whole.labels
    if plan.by_row and labels is not None:
        weights = np.repeat(weights, labels[0].size, axis=0) * (labels.reshape(-1, 1) >= 0)
        labels = np.maximum(labels.reshape(-1), 0)
    if patch.weights is not None:
        fed[patch.weights] = weights
    if patch.targets is not None:
        table, _ = one_hot(labels, C=1, K=plan.K if plan.targets == "classes" else None)
        assert table is not None  # noqa: S101 - the plan has targets
        fed[patch.targets] = table
    return fed


def row_weights(plan: Plan, batch: Batch, each: int) -> Array:
    """What each row of a batch counts, padding samples left out: float64 array of shape (1, samples · each).

    Args:
        plan: how the batch is fed.
        batch: the batch.
        each: rows that a sample has.
    """
    weights = np.ones((1, batch.rows * each))
    if plan.by_row and batch.labels is not None:
        weights *= batch.labels.reshape(1, -1) >= 0
    if plan.mask is not None:
        weights *= np.asarray(batch.inputs[plan.mask], dtype=np.float64).reshape(1, -1)
    return weights
