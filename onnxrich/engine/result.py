"""Results of a pass over the data: of one model, and of several models together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnxrich.engine.layers import LayerMoments
from onnxrich.engine.prepared import PreparedModel
from onnxrich.errors import Notice
from onnxrich.model.head.head import Head
from onnxrich.model.mask import Mask
from onnxrich.moments.matrix import Array, Moments


@dataclass(frozen=True, eq=False)
class PassResult:
    """The moments of one model, and how the pass went.

    Attributes:
        head: the head with its widths.
        moments: moments of all rows.
        blocks: moments of the batch groups b ≡ g (mod number of blocks), without blocks that hold no rows; empty for a
            single block.
        residual: relative residual of the head's check.
        rows_kind: kind of a row: "sample", "token" or "position".
        mask: the mask of the rows.
        samples: number of samples.
        batch_size: samples in a batch.
        batches_per_product: number of consecutive batches that went to the same block.
        has_fixed_batch: whether the model fixes its batch size.
        classes: number of classes, None without classes.
        providers: execution providers, in the order of their precedence.
        nodes: number of graph nodes by execution provider.
        seconds: duration from the first row to the last, without loading the model.
        notices: notices for the reader of the result.
        fingerprint: fingerprint of the rows.
        sequence: fingerprint of the order of the rows and their batches.
        prepared: the model as it ran.
        layers: moments of the hidden layers, in the order in which they run; None where none were requested. The sums
            of a layer are released when the iterator moves on, so each layer can be read once.
        resumed: number of samples that a checkpoint held.
    """

    head: Head
    moments: Moments
    blocks: tuple[Moments, ...]
    residual: float | None
    rows_kind: str
    mask: Mask | None
    samples: int
    batch_size: int
    batches_per_product: int
    has_fixed_batch: bool
    classes: int | None
    providers: tuple[str, ...]
    nodes: dict[str, int]
    seconds: float
    notices: tuple[Notice, ...]
    fingerprint: str
    sequence: str
    prepared: PreparedModel
    layers: Iterator[LayerMoments] | None = None
    resumed: int = 0


Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class JointResult:
    """The moments of several models over the same rows, and the products of their features.

    Attributes:
        passes: result of each model.
        products: Σ w (φᵃ − shift)(φᵇ − shift)ᵀ of pairs of models, by their numbers: one array of shape (pᵃ, pᵇ) for
            each block of the passes, or a single one for all rows where memory did not allow more.
        memory: bytes of all sums on the device.
        notices: notices on the pairs.
    """

    passes: tuple[PassResult, ...]
    products: Mapping[Pair, tuple[Array, ...]]
    memory: int
    notices: tuple[Notice, ...]
