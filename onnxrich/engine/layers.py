"""Hidden layers beside the head: chosen, added to the patched model, and read as moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import pad
from onnxrich.engine.masks import KNOWN, find_token_mask, unused_token_masks
from onnxrich.engine.memory import fit_blocks
from onnxrich.engine.prepared import PreparedModel, open_session
from onnxrich.errors import HeadError, ModelError, Notice
from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Axes
from onnxrich.model.head.head import Head, View
from onnxrich.model.head.layers import (
    MOST_LAYERS,
    LayerTensor,
    chosen_tensors,
    equals_features,
    layer_tensors,
    thin_layers,
)
from onnxrich.model.head.pooling import Pool, Shapes, choose_pool
from onnxrich.model.patch.instrument import Patch, expose_shapes, instrument
from onnxrich.moments.matrix import Moments, merge_all

# Batch sizes of two runs that show which axis runs over the samples: no other axis has both lengths by chance.
TRIAL_SIZES = (13, 11)
# Number of layers that a message names.
LISTED = 3


@dataclass(frozen=True)
class LayerRequest:
    """Which hidden layers to measure.

    Attributes:
        names: names of tensors or modules; None for all layers.
        token: number of the token to read in layers of tokens, None for their mean.
        mask: the requested mask of the tokens, as for `choose_mask`.
    """

    names: tuple[str, ...] | None
    token: int | None = None
    mask: str | None = None


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """A hidden layer to read.

    Attributes:
        source: tensor of the layer.
        pool: how rows are made of the tensor.
        p: number of features.
    """

    source: LayerTensor
    pool: Pool
    p: int

    def with_outputs(self, head: Head) -> Head:
        """The layer's features with the outputs of the head."""
        view = View(self.source.tensor, Axes(2, 1), pool=self.pool)
        return Head(view, head.outputs, self.source.operator, self.p, head.C)


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """The moments of a hidden layer's features, the head's outputs and the targets.

    Attributes:
        tensor: name of the tensor.
        scope: module of the exporting framework; empty where the file has none.
        operator: operators that make the tensor, for people.
        rows: how rows are made of the tensor, for people.
        blocks: moments of the blocks with rows.
    """

    tensor: str
    scope: str
    operator: str
    rows: str
    blocks: tuple[Moments, ...]

    @property
    def is_finite(self) -> bool:
        """Whether all moments are finite."""
        return all(bool(np.isfinite(block.matrix).all()) for block in self.blocks)

    def merge_blocks(self) -> Moments:
        """The moments of all rows."""
        return merge_all(self.blocks)


@dataclass(frozen=True, eq=False)
class HiddenLayers:
    """The hidden layers of a pass.

    Attributes:
        layers: the layers, in the order in which they run.
        blocks: number of blocks of moments that memory holds.
        notices: notices for the reader of the result.
    """

    layers: tuple[HiddenLayer, ...]
    blocks: int
    notices: tuple[Notice, ...]

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""
        return [layer.source.tensor for layer in self.layers]

    @property
    def descriptions(self) -> list[str]:
        """What is read of each tensor: sums of a mean and of one token, or of two masks, do not add up.

        A name alone means all tokens, without those that `attention_mask` leaves out.
        """
        return [
            source.tensor
            + (f": {pool.description}" if pool.token is not None else "")
            + (f", mask {pool.mask}" if pool.mask is not None and str(pool.mask) != KNOWN[-1] else "")
            for source, pool in ((layer.source, layer.pool) for layer in self.layers)
        ]

    def read(self, drain: Callable[[int], list[Moments]]) -> Iterator[LayerMoments]:
        """Yield the moments of each layer. Only one layer's moments are in memory at a time.

        Args:
            drain: gives the moments of a layer in each block, by the layer's index, and releases its sums.
        """
        for index, layer in enumerate(self.layers):
            source, rows = layer.source, layer.pool.description
            yield LayerMoments(
                source.tensor, source.scope, source.operator, rows, tuple(block for block in drain(index) if block.n)
            )


def with_layers(
    prepared: PreparedModel, request: LayerRequest, *, blocks: int | None, memory: int | None
) -> tuple[PreparedModel, HiddenLayers]:
    """Add hidden layers to a prepared model. Return the new model and its layers.

    Args:
        prepared: the model with its head, adjusted to the first batch.
        request: which layers.
        blocks: requested number of blocks of moments; as many as memory holds when left out.
        memory: bytes that the work may use; the free memory when left out.

    Raises:
        HeadError: when a name is unknown, or a named layer has no rows like the head's.
        ModelError: when memory does not hold the moments.
    """
    prepared.session.close()  # memory may not hold two
    layers, notices = _choose_layers(prepared, request)
    patch = prepared.patch.with_layers(_layer_patches(prepared, layers))
    names = [layer.source.tensor for layer in layers]
    count = fit_blocks(patch, names, blocks=blocks, memory=memory)
    session = open_session(prepared.model, patch.data, device=prepared.session.device)
    patched = replace(prepared, patch=patch, session=session)
    patched = replace(patched, layer_shifts=_layer_shifts(patched))
    return patched, HiddenLayers(tuple(layers), count, tuple(notices))


def _layer_patches(prepared: PreparedModel, layers: Sequence[HiddenLayer]) -> list[Patch]:
    plan = prepared.plan
    return [
        instrument(
            prepared.model, layer.with_outputs(prepared.head), K=plan.target_width, masked=plan.has_weights,
            mask=plan.mask, by_row=plan.by_row, batches_per_product=prepared.patch.batches_per_product,
            memory=prepared.session.device.memory, base=prepared.patch, name=f"layer.{index}.",
        )
        for index, layer in enumerate(layers)
    ]  # fmt: skip


def _choose_layers(prepared: PreparedModel, request: LayerRequest) -> tuple[list[HiddenLayer], list[Notice]]:
    """Choose the layers of a request. Return them with notices on those left out."""
    are_named = request.names is not None
    layers, skipped = _find_layers(prepared, request)
    if are_named and skipped:
        raise HeadError(
            f"layer {skipped[0]}",
            f"a tensor with rows like those of the head, which are {prepared.rows_kind}s",
            "Leave it out of --layers; `onnxrich inspect MODEL --layers` lists others.",
        )
    if request.token is not None and not any(layer.pool.token is not None for layer in layers):
        raise HeadError(f"no layer has a token {request.token}", "layers of tokens", "Leave out --token.")
    is_unmasked = any(layer.pool.kind == "mean over tokens" for layer in layers) and request.mask is None
    notices = skipped_notices(skipped) + (unused_token_masks(prepared.first) if is_unmasked else [])
    if are_named:
        return layers, notices
    spread = thin_layers(layers)
    return spread, [*(_thinned_notices(len(layers)) if len(spread) < len(layers) else []), *notices]


def _find_layers(prepared: PreparedModel, request: LayerRequest) -> tuple[list[HiddenLayer], list[str]]:
    """The layers that have rows like the head's, and clauses on those that have none.

    Unless layers are named, sums of tensors of different shapes and the features of the head themselves are left out.
    """
    graph, head, are_named = Graph(prepared.model), prepared.head, request.names is not None
    sources = chosen_tensors(graph, head, request.names or ()) if are_named else layer_tensors(graph, head)
    layer_shapes, mask = _run_shapes(prepared, sources), find_token_mask(request.mask, prepared.first)
    layers, skipped = list[HiddenLayer](), list[str]()
    for source in sources:
        if not are_named and len({layer_shapes[term].dims for term in source.terms}) > 1:
            continue  # a bias or a mask is added, so the sum is no layer
        is_double = graph.element_type(source.tensor) == TensorProto.DOUBLE
        pooling = choose_pool(
            layer_shapes[source.tensor],
            source.features_axis,
            rows_per_sample=prepared.rows_per_sample,
            samples_lead=not head.features.samples_axis and head.features.samples_fastest is None,
            mask=mask,
            token=request.token,
            is_double=is_double,
        )
        if isinstance(pooling, str):
            skipped.append(f"{source.tensor!r}: {pooling}")
            continue
        p = layer_shapes[source.tensor].dims[0][pooling.features_axis]
        if are_named or p != head.p or request.token is not None or not equals_features(graph, head, source):
            layers.append(HiddenLayer(source, pooling, p))
    return layers, skipped


def _thinned_notices(count: int) -> list[Notice]:
    message = f"Of {count} layers, {MOST_LAYERS} were measured, evenly spread. Pass --layers NAME,… for others."
    return [Notice("layers_thinned", message)]


def skipped_notices(skipped: Sequence[str]) -> list[Notice]:
    if not skipped:
        return []
    more = f"; and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
    return [Notice("layers_skipped", f"Layers were left out: {'; '.join(skipped[:LISTED])}{more}.")]


def _run_shapes(prepared: PreparedModel, sources: Sequence[LayerTensor]) -> dict[str, Shapes]:
    """Shapes of layers and of their terms, in batches of two sizes where the model takes any size."""
    tensors = list(dict.fromkeys(name for source in sources for name in (source.tensor, *source.terms)))
    if not tensors:
        return {}
    plan, first = prepared.plan, prepared.first
    patch, names = expose_shapes(prepared.model, tensors)
    session = open_session(prepared.model, patch, device=prepared.session.device)
    sizes: tuple[int, ...] = (plan.batch_size,) if plan.is_fixed else TRIAL_SIZES
    try:
        runs = [session.run(names, pad(first, size).feed) for size in sizes]
    except ModelError:
        if plan.is_fixed:
            raise
        sizes = (first.rows,)
        runs = [session.run(names, first.feed)]
    columns = zip(*runs, strict=True)
    return {
        tensor: Shapes(sizes, tuple(tuple(dims.tolist()) for dims in column))
        for tensor, column in zip(tensors, columns, strict=True)
    }


def _layer_shifts(prepared: PreparedModel) -> dict[str, AnyArray]:
    """Shifts of the layers' moments, the means of the first rows, by name of the input."""
    patch = prepared.patch
    names = [layer.features for layer in patch.layers]
    # For an empty list of names the runtime returns all outputs.
    tables = prepared.session.run(names, prepared.feed(prepared.first) | patch.idle_feed) if names else []
    head_shift = prepared.pilot_shift()
    rows, p = prepared.features.shape
    shifts: dict[str, AnyArray] = {}
    for layer, table in zip(patch.layers, tables, strict=True):
        mean = table[:rows].mean(axis=0)
        shift = np.concatenate([[0.0], np.where(np.isfinite(mean), mean, 0.0), head_shift[1 + p :]])
        shifts[layer.shift] = shift.reshape(1, -1)
    return shifts
