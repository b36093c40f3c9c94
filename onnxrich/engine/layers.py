"""Hidden layers beside the head: chosen, added to the model that is run, and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.engine import prepared as lives
from onnxrich.engine.batches import padded
from onnxrich.engine.memory import fit_blocks
from onnxrich.engine.prepared import USUAL_MASK, PreparedModel
from onnxrich.errors import HeadError, ModelError, Notice
from onnxrich.metrics.richness import ROWS_PER_FEATURE
from onnxrich.model.graph import Graph
from onnxrich.model.head import layers
from onnxrich.model.head.affine import Axes
from onnxrich.model.head.head import Head, View
from onnxrich.model.head.layers import LayerTensor
from onnxrich.model.head.pooling import Pool, Shapes, choose_pool
from onnxrich.model.patch import instrument as rewrite
from onnxrich.moments.matrix import Moments, merge_all
from onnxrich.results.layer import Layer

# Two numbers of samples that no axis is likely to have by chance: the axis that has both runs over the samples.
RUNS = (13, 11)
# Layers that a message names.
LISTED = 3


@dataclass(frozen=True)
class LayerRequest:
    """Which layers are asked for.

    Attributes:
        names: of tensors or modules; None for all.
        token: which token to take of layers of tokens, None for their mean.
        memory: bytes that the work may use, None for what the machine has.
        blocks: number of blocks of moments that is asked for.
    """

    names: tuple[str, ...] | None
    token: int | None = None
    memory: int | None = None
    blocks: int | None = None


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """A hidden layer that is read: where, and how its rows are made."""

    site: LayerTensor
    pool: Pool
    p: int

    def head(self, head: Head) -> Head:
        """The layer as features beside the head's outputs."""
        view = View(self.site.tensor, Axes(2, 1), pool=self.pool)
        return Head(view, head.outputs, self.site.operator, self.p, head.C)


@dataclass(frozen=True, eq=False)
class HiddenLayers:
    """The hidden layers of a pass.

    Attributes:
        hidden: the layers, in the order in which they run.
        blocks: number of blocks of moments for which there is memory.
        notices: what a reader of the result should know.
    """

    hidden: tuple[HiddenLayer, ...]
    blocks: int
    notices: tuple[Notice, ...]

    def profile(
        self,
        head: Head,
        moments: Callable[[int], list[Moments]],
        total: Moments,
        blocks: Sequence[Moments],
        *,
        samples: bool,
    ) -> LayerProfile:
        """The numbers of the layers, and at last of the head's features.

        Args:
            head: the head.
            moments: of a layer by its index, for each block.
            total: moments of the head.
            blocks: that these are the sum of, where they were kept.
            samples: whether rows are samples.
        """
        found, bad = list[Layer](), list[str]()
        for index, hidden in enumerate(self.hidden):
            site, parts = hidden.site, [part for part in moments(index) if part.n]
            if not all(np.isfinite(part.matrix).all() for part in parts):
                bad.append(f"{site.tensor!r}: it holds NaN or infinity")
                continue
            about = {
                "name": site.tensor,
                "scope": site.scope,
                "operator": site.operator,
                "rows": hidden.pool.description,
            }
            kept = parts if len(blocks) else ()
            found.append(Layer.from_moments(about, merge_all(parts), kept, samples=samples))
        about = {"name": head.features.tensor, "scope": "", "operator": "features of the head", "rows": "as the head's"}
        last = Layer.from_moments(about, total, blocks, samples=samples)
        return LayerProfile((*found, last), (*self.notices, *_notices(bad), *_few_rows([*found, last], total.n)))


@dataclass(frozen=True)
class LayerProfile:
    """The layers of a model with their numbers, in the order in which they run, and what a reader should know."""

    layers: tuple[Layer, ...] = ()
    notices: tuple[Notice, ...] = ()


def with_layers(live: PreparedModel, first: Batch, asked: LayerRequest) -> tuple[PreparedModel, HiddenLayers]:
    """A model that yields hidden layers as well, and which those are.

    Args:
        live: the model with its head, settled.
        first: the first batch.
        asked: which layers.

    Raises:
        HeadError: when a name is unknown, or a layer that is named has no rows like the head's.
        ModelError: when there is no memory for their moments.
    """
    live.session.close()  # memory may not hold two
    hidden, notices = _chosen(live, first, asked)
    patches = [
        rewrite.instrument(
            live.model, layer.head(live.head), K=live.plan.K, masked=live.plan.counts, mask=live.plan.mask,
            by_row=live.plan.by_row, batches_per_product=live.patch.batches_per_product,
            memory=live.session.device.memory, base=live.patch,
            name=f"layer.{at}.",
        )
        for at, layer in enumerate(hidden)
    ]  # fmt: skip
    patch = live.patch.with_layers(patches)
    names = [layer.site.tensor for layer in hidden]
    blocks = fit_blocks(patch, names, blocks=asked.blocks, memory=asked.memory)
    session = lives.open_session(live.model, patch.data, live.session.device)
    shifts = _shifts(replace(live, patch=patch, session=session), first)
    return replace(live, patch=patch, session=session, given=shifts), HiddenLayers(
        tuple(hidden), blocks, tuple(notices)
    )


def _chosen(live: PreparedModel, first: Batch, asked: LayerRequest) -> tuple[list[HiddenLayer], list[Notice]]:
    graph = Graph(live.model)
    named = asked.names is not None
    sites = (
        layers.chosen_tensors(graph, live.head, asked.names or ()) if named else layers.layer_tensors(graph, live.head)
    )
    shapes = _shapes(live, first, sites)
    mask, each = _mask(live, first), lives.rows_per_sample(live, first)
    found, skipped = list[HiddenLayer](), list[str]()
    for site in sites:
        if not named and len({shapes[term].dims for term in site.terms}) > 1:
            continue  # a sum of tensors of different shapes is a bias or a mask, and no layer
        double = graph.element_type(site.tensor) == TensorProto.DOUBLE
        how = choose_pool(
            shapes[site.tensor],
            site.features_axis,
            rows_per_sample=each,
            mask=mask,
            token=asked.token,
            is_double=double,
        )
        if isinstance(how, str):
            skipped.append(f"{site.tensor!r}: {how}")
            continue
        p = shapes[site.tensor].dims[0][how.features_axis]
        if named or p != live.head.p or asked.token is not None or not layers.equals_features(graph, live.head, site):
            found.append(HiddenLayer(site, how, p))
    if named and skipped:
        raise HeadError(
            f"layer {skipped[0]}", f"a tensor with rows as the head's, which are {lives.rows_kind(live, first)}s",
            "Leave it out of --layers; `onnxrich inspect MODEL --layers` lists others.",
        )  # fmt: skip
    if asked.token is not None and not any(layer.pool.token is not None for layer in found):
        raise HeadError(f"token {asked.token}, and no layer that has it", "layers of tokens", "Leave --token out.")
    kept = found if named else layers.thin_layers(found)
    return kept, (_thinned(len(found)) if len(kept) < len(found) else []) + _notices(skipped)


def _thinned(count: int) -> list[Notice]:
    said = (
        f"{count} layers: {layers.MOST_LAYERS} of them, evenly spread, were measured. Pass --layers NAME,… for others."
    )
    return [Notice("layers_thinned", said)]


def _notices(skipped: Sequence[str]) -> list[Notice]:
    if not skipped:
        return []
    more = f"; and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
    return [Notice("layers_skipped", f"Layers were left out: {'; '.join(skipped[:LISTED])}{more}.")]


def _few_rows(measured: Sequence[Layer], n: float) -> list[Notice]:
    few = sum(layer.p * ROWS_PER_FEATURE > n for layer in measured)
    said = f"{few} of {len(measured)} layers have fewer than {ROWS_PER_FEATURE} rows a feature, where D_LR is too low"
    message = f"{said}, more so in wide layers than in narrow ones: compare their d_lr_debiased, or pass more rows."
    return [Notice("layers_few_rows", message)] if few else []


def _shapes(live: PreparedModel, first: Batch, sites: Sequence[LayerTensor]) -> dict[str, Shapes]:
    """Shapes of the layers, and of what they are sums of, for batches of two sizes where the model takes such."""
    tensors = list(dict.fromkeys(name for site in sites for name in (site.tensor, *site.terms)))
    if not tensors:
        return {}
    patch, names = rewrite.expose_shapes(live.model, tensors)
    session = lives.open_session(live.model, patch, live.session.device)
    sizes: tuple[int, ...] = (live.plan.size,) if live.plan.fixed else RUNS
    try:
        runs = [session.run(names, padded(first, size).inputs) for size in sizes]
    except ModelError:
        if live.plan.fixed:
            raise
        sizes = (first.rows,)
        runs = [session.run(names, first.inputs)]
    columns = zip(*runs, strict=True)
    return {
        tensor: Shapes(sizes, tuple(tuple(dims.tolist()) for dims in column))
        for tensor, column in zip(tensors, columns, strict=True)
    }


def _mask(live: PreparedModel, first: Batch) -> tuple[str, int] | None:
    """The input that says which tokens are padding, and the number of tokens; None where there is none."""
    array = first.inputs.get(USUAL_MASK)
    taken = {entry.name for entry in live.model.inputs}
    if array is None or USUAL_MASK not in taken or array.ndim != 2 or not np.isin(array, (0, 1)).all():
        return None
    return USUAL_MASK, array.shape[1]


def _shifts(live: PreparedModel, first: Batch) -> dict[str, AnyArray]:
    """The shifts about which the moments of layers are summed: the means of the first rows, by name of the input."""
    patch = live.patch
    names = [layer.features for layer in patch.layers]
    # Of no names, the runtime takes all outputs to be meant.
    tables = live.session.run(names, live.feed(first) | patch.idle_feed) if names else []
    own = lives.pilot_shift(live, first)
    p = live.features.shape[1]
    shifts: dict[str, AnyArray] = {}
    for layer, table in zip(patch.layers, tables, strict=True):
        mean = table[: len(live.features)].mean(axis=0)
        shift = np.concatenate([[0.0], np.where(np.isfinite(mean), mean, 0.0), own[1 + p :]])
        shifts[layer.shift] = shift.reshape(1, -1)
    return shifts
