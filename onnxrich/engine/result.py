"""Results of a pass over the data: of one model, and of several models at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxrich.engine.prepared import PreparedModel
from onnxrich.errors import Notice
from onnxrich.model.head.head import Head
from onnxrich.moments.matrix import Array, Moments
from onnxrich.results.layer import Layer


@dataclass(frozen=True, eq=False)
class PassResult:
    """What one pass over the data gave.

    Attributes:
        head: the head, with its widths.
        moments: of all rows.
        blocks: of the batches b ≡ g (mod number of blocks), those without rows left out; empty for a single block.
        residual: relative residual of the head's check.
        rows_kind: "sample", "token" or "position".
        mask: input that said which rows to leave out.
        samples: number of samples.
        resumed: those of them that a checkpoint brought.
        batch_size: samples a run.
        runs: consecutive runs that went to the same block.
        fixed: whether the model fixes that.
        classes: number of classes, None without.
        providers: execution providers, in order.
        nodes: how many nodes of the graph each runs.
        seconds: that the pass took from its first row to its last, without loading the model.
        notices: what a reader of the result should know.
        fingerprint: of the rows.
        sequence: of which rows came in which batch.
        live: the model as it ran.
        layers: the hidden layers that were asked for, and at last the features of the head.
    """

    head: Head
    moments: Moments
    blocks: tuple[Moments, ...]
    residual: float | None
    rows_kind: str
    mask: str | None
    samples: int
    batch_size: int
    runs: int
    fixed: bool
    classes: int | None
    providers: tuple[str, ...]
    nodes: dict[str, int]
    seconds: float
    notices: tuple[Notice, ...]
    fingerprint: str
    sequence: str
    live: PreparedModel
    layers: tuple[Layer, ...] = ()
    resumed: int = 0


Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class JointResult:
    """What one pass of several models gave.

    Attributes:
        passes: one a model.
        products: Σ w (φᵃ − shift)(φᵇ − shift)ᵀ of pairs of models, by their numbers: one array of shape (pᵃ, pᵇ) for
            each block of the passes, or a single one for all rows where memory did not allow more.
        memory: bytes of all sums on the device.
        notices: what a reader should know of the pairs.
    """

    passes: tuple[PassResult, ...]
    products: Mapping[Pair, tuple[Array, ...]]
    memory: int
    notices: tuple[Notice, ...]
