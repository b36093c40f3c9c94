"""The patch: a small protobuf message that, appended to a model's bytes, makes it yield its head and its moments.

protobuf merges concatenated messages, and a repeated field is appended to. So `model bytes + patch bytes` is the model
with further nodes, inputs and outputs: no decode and re-encode of the weights, and what was changed can be read on its
own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxrich.errors import ModelError
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head
from onnxrich.model.patch.builder import Builder, prefix
from onnxrich.model.patch.cross_products import CrossProductModel as CrossProductModel
from onnxrich.model.patch.cross_products import cross_product_model as cross_product_model
from onnxrich.model.patch.products import accumulate, tile_shapes
from onnxrich.model.patch.rows import Part, lay_out, row_table
from onnxrich.moments.matrix import METADATA, SCORES, Array, from_tiles, with_outputs


@dataclass(frozen=True)
class Patch:
    """What to append to a model, and the names by which to drive it.

    Each run takes one batch and the accumulators, and gives the next accumulators. These are the tiles
    Σ w (z − shift)[edges[i]:edges[i+1]] (z − shift)[edges[j]:edges[j+1]]ᵀ of the moment matrix, those on and above the
    diagonal, row by row. With `counts`, a last one of shape (2, 1) holds the sums of `moments.matrix.SCORES`.

    Where several runs are added by one product, each but the last yields its parts of z, which are to be held and given
    to the last one; tallies are added by each run. The sums of a run that is not the last are not to be fetched.

    Attributes:
        data: serialized ModelProto.
        shape: output, the shape of φ before its rows are laid out.
        weights: input, float64 of shape (samples or rows, 1): 1, or 0 for padding; None where all rows count.
        targets: input, float64 of shape (samples or rows, K); None without labels.
        shift: input, float64 of shape (1, d).
        accumulators: inputs.
        accumulated: outputs, in the order of `accumulators`.
        edges: where the tiles begin along each side, and d at the end.
        counts: whether the tallies are summed.
        parts: outputs: the parts of z for the rows of a run, the features second; `outputs` third where it is summed.
        outputs: output of shape (rows, C).
        elements: type of its elements, float or double.
        weight: float64 array of shape (C, p), W of f = Wφ + b, where the outputs are not summed but follow from φ.
        held: inputs, for each run but the last: its parts, which may be of no rows.
        last: input, a boolean: whether to add the rows of this run and those that were held; None where each run is.
        layers: patches of hidden layers that are run with this one; their accumulators come before its own, and their
            parts behind.
    """

    data: bytes
    shape: str
    weights: str | None
    targets: str | None
    shift: str
    accumulators: tuple[str, ...]
    accumulated: tuple[str, ...]
    edges: tuple[int, ...]
    counts: bool
    parts: tuple[Part, ...]
    outputs: str
    elements: int
    weight: Array | None = None
    held: tuple[tuple[str, ...], ...] = ()
    last: str | None = None
    layers: tuple[Patch, ...] = ()

    @property
    def fed(self) -> dict[str, str]:
        """The inputs for weights and targets, by what they are, where there are such."""
        named = {"weights": self.weights, "targets": self.targets}
        return {what: name for what, name in named.items() if name is not None}

    @property
    def features(self) -> str:
        """Output of shape (rows, p): φ."""
        return self.parts[1].name

    def beside(self, layers: Sequence[Patch]) -> Patch:
        """One patch of this one and those of hidden layers."""
        return replace(
            self,
            data=b"".join([self.data, *(layer.data for layer in layers)]),
            accumulators=(*(name for layer in layers for name in layer.accumulators), *self.accumulators),
            accumulated=(*(name for layer in layers for name in layer.accumulated), *self.accumulated),
            parts=(*self.parts, *(part for layer in layers for part in layer.parts)),
            held=tuple(tuple(chain(*run)) for run in zip(self.held, *(layer.held for layer in layers), strict=True)),
            layers=tuple(layers),
        )

    @property
    def spans(self) -> tuple[slice, ...]:
        """Where the accumulators of each layer lie, and then those of this patch itself."""
        edges = np.cumsum([0, *(len(layer.accumulators) for layer in self.layers)]).tolist()
        return tuple(slice(start, stop) for start, stop in pairwise([*edges, len(self.accumulators)]))

    @property
    def runs(self) -> int:
        """How many runs are added by one product, at most."""
        return 1 + len(self.held)

    @property
    def nothing(self) -> dict[str, NDArray[Any]]:
        """What a run is fed, on top of its rows, so that its sums are of no use: zero sums and shift, nothing held."""
        fed: dict[str, NDArray[Any]] = {each.shift: np.zeros((1, each.edges[-1])) for each in (self, *self.layers)}
        fed |= {name: np.zeros(shape) for name, shape in zip(self.accumulators, self.shapes, strict=True)}
        for names in self.held:
            fed |= {name: part.empty for name, part in zip(names, self.parts, strict=True)}
        return fed if self.last is None else fed | {self.last: np.array(False)}

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the accumulators."""
        before = tuple(shape for layer in self.layers for shape in layer.shapes)
        return before + tuple(tile_shapes(self.edges)) + ((len(SCORES), 1),) * self.counts

    def tallies(self, accumulated: Sequence[Array]) -> dict[str, float]:
        """The sums of `moments.matrix.SCORES`, where they are counted, from the patch's own sums."""
        return dict(zip(SCORES, accumulated[-1][:, 0].tolist(), strict=True)) if self.counts else {}

    def matrix(self, accumulated: Sequence[Array]) -> Array:
        """The symmetric moment matrix, float64 of shape (d, d), from the accumulated tiles."""
        summed = from_tiles(accumulated[: len(accumulated) - self.counts])
        return summed if self.weight is None else with_outputs(summed, self.weight)

    def summed(self, shift: Array) -> Array:
        """Those entries of a shift, of shape (d,), about which sums are accumulated."""
        if self.weight is None:
            return shift
        C, p = self.weight.shape
        return np.delete(shift, slice(1 + p, 1 + p + C))


def expose_raw(model: Model, head: Head) -> tuple[bytes, list[str]]:
    """The patch that adds the tensors of a head as outputs, as they are, in double, and their names."""
    graph = GraphProto()
    names = []
    for view, name in ((head.features, "features"), (head.outputs, "outputs")):
        made = f"{prefix(model)}{name}"
        names.append(made)
        graph.node.append(helper.make_node("Cast", [view.tensor], [made], to=TensorProto.DOUBLE))
        graph.output.append(ValueInfoProto(name=made))
    return bytes(ModelProto(graph=graph).SerializeToString()), names


def shapes(model: Model, tensors: Sequence[str]) -> tuple[bytes, list[str]]:
    """The patch that adds the shapes of tensors as outputs, and their names."""
    build = Builder(f"{prefix(model)}shapes.", model.opset)
    names = [build.add("Shape", [tensor]) for tensor in tensors]
    build.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in names)
    return build.serialize(), names


def expose(model: Model, head: Head) -> tuple[bytes, tuple[str, str]]:
    """The patch that adds the head's rows as float32 outputs of shape (rows, p) and (rows, C), and their names.

    Requires a head whose widths p and C are known; ensures that no name of the model is taken.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = Builder(prefix(model), model.opset)
    names = []
    for view, width, name in ((head.features, head.p, "features"), (head.outputs, head.C, "outputs")):
        made = build.add("Cast", [row_table(build, view, width)], name, to=TensorProto.FLOAT)
        build.output(made, "rows", width, elements=TensorProto.FLOAT)
        names.append(made)
    return build.serialize(), (names[0], names[1])


def portable(model: Model, head: Head, shift: Array | None, residual: float | None) -> Patch:
    """The patch that adds moments as accumulators, for any runtime: no input but these, the shift a constant.

    What is needed to read the moments stands in the model's metadata, see `Moments.from_accumulators`.

    Args:
        model: the model.
        head: its head, with p and C known.
        shift: float64 array of shape (1 + p + C,), the mean of some rows; zero when left out.
        residual: relative residual of the head's check.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    about = np.zeros(1 + head.p + head.C) if shift is None else shift
    # Fewer and larger tiles: whoever drives the model carries each of them from run to run.
    patch = instrument(model, head, shift=about, memory="cuda")
    affine = head.affine
    told = {
        "sizes": [head.p, head.C],
        "shift": about.tolist(),
        "dtype": affine.dtype if affine else "float32",
        "residual": residual or 0.0,
        "features": head.features.tensor,
        "outputs": head.outputs.tensor,
    }
    metadata = ModelProto()
    metadata.metadata_props.add(key=METADATA, value=json.dumps(told))
    return replace(patch, data=patch.data + metadata.SerializeToString())


def check_not_instrumented(model: Model) -> None:
    """Check that a model has no accumulators, which no data feed.

    Raises:
        ModelError: when `portable` made it.
    """
    if any(entry.key == METADATA for entry in model.proto.metadata_props):
        raise ModelError(
            f"{model.path} is instrumented already",
            "a model without accumulators",
            "Pass the model that it was made of, or run this one in any ONNX runtime.",
        )


def instrument(
    model: Model,
    head: Head,
    *,
    K: int = 0,
    count: bool = False,
    masked: bool = False,
    mask: str | None = None,
    by_row: bool = False,
    shift: Array | None = None,
    runs: int = 1,
    derived: bool = False,
    memory: str = "cpu",
    beside: Patch | None = None,
    name: str = "",
) -> Patch:
    """The patch that adds the head's rows as outputs, and the moments as accumulators.

    Requires a head whose widths p and C are known; ensures that no name of the model is taken.

    Args:
        model: the model.
        head: its head, with p and C known.
        K: number of targets.
        count: whether to sum the tallies as well: outputs and targets are those of a classifier.
        masked: whether rows can have weight 0; costs one more pass over the rows.
        mask: input of the model that is 0 for rows to be left out, 1 for the others.
        by_row: whether weights and targets come for each row, not for each sample.
        shift: float64 array of shape (d,) to fix as a constant; then the accumulators are the patch's only outputs.
        runs: how many runs are added by one product; more than one pays where a run has few rows.
        derived: whether the moments of the outputs are to follow from those of φ, by W of the head; needs `affine`.
        memory: kind of memory in which the sums lie, "cpu" or "cuda": there are fewer and larger tiles for the latter.
        beside: another patch of the model, whose inputs are used.
        name: what tells this patch from others of the same model.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = Builder(f"{prefix(model)}{name}", model.opset)
    tables = lay_out(
        build, head, K=K, masked=masked, mask=mask, by_row=by_row, fed=beside.fed if beside else None,
        elements=beside.elements if beside else None,
    )  # fmt: skip
    parts = tuple(part for part in tables.parts if not (derived and part is tables.outputs))
    d = sum(part.width for part in parts)
    about = build.input("shift", [1, d]) if shift is None else build.constant(shift.reshape(1, d))
    last = beside.last if beside else None
    sums = accumulate(build, parts, about, masked=masked, memory=memory, runs=runs, last=last)
    tallies: tuple[str, ...] = ()
    if count:
        logits = build.cast(tables.outputs.name, TensorProto.DOUBLE)
        tallies = build.tallies(logits, tables.labels, tables.one.name, C=tables.outputs.width, K=K)
    shape = ""
    if shift is None:
        shape = build.shape_output()
        for part in tables.parts if sums.held else (tables.features, tables.outputs):
            build.output(part.name, "rows", part.width, elements=part.elements)
    return Patch(
        data=build.serialize(),
        shape=shape,
        weights=tables.fed.get("weights"),
        targets=tables.fed.get("targets"),
        shift=about,
        accumulators=(*sums.before, *tallies[:1]),
        accumulated=(*sums.after, *tallies[1:]),
        edges=sums.edges,
        counts=count,
        parts=parts,
        outputs=tables.outputs.name,
        elements=tables.outputs.elements,
        weight=head.affine.weight if derived and head.affine else None,
        held=sums.held,
        last=sums.last,
    )
