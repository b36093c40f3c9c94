"""Patches that, appended to a model's bytes, make it output the rows of its head or sum their moments.

protobuf merges concatenated messages and appends to repeated fields. So `model bytes + patch bytes` is the model with
further nodes, inputs and outputs: no weight is decoded, and the patch shows on its own what was changed.
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
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.model.mask import Mask
from onnxrich.model.patch.builder import Builder, unused_prefix
from onnxrich.model.patch.products import accumulate, add_tallies, tile_shapes
from onnxrich.model.patch.rows import Part, add_row_table, add_tables
from onnxrich.moments.matrix import METADATA, SCORES, Array, from_tiles


@dataclass(frozen=True)
class Patch:
    """The bytes to append to a model, and the names of the inputs and outputs that they add.

    A run takes one batch and the accumulators, and gives the next accumulators. These are the tiles
    Σ w (z − shift)[edges[i]:edges[i+1]] (z − shift)[edges[j]:edges[j+1]]ᵀ of the moment matrix on and above the
    diagonal, row by row. With `has_tallies`, a last accumulator of shape (2, 1) holds the sums of `SCORES`.

    One product can add the rows of several batches. Then each run but the last of a product outputs its parts of z,
    which the caller buffers and feeds to the last run. Each run adds its own tallies. Only the last run of a product
    computes the other sums: the caller must not fetch them from another run.

    Attributes:
        data: serialized ModelProto.
        shapes_before: outputs, the shapes of φ and f before their axes are merged into rows; none with a fixed shift.
        weights: input, float64 of shape (samples or rows, 1): 1, or 0 for padding; None when all rows count.
        targets: input, float64 of shape (samples or rows, K); None without labels.
        shift: input, float64 of shape (1, d).
        accumulators: inputs.
        accumulated: outputs, in the order of `accumulators`.
        edges: indices at which the tiles begin along each side, then d.
        has_tallies: whether the patch sums the tallies.
        parts: outputs, the parts of z for the rows of a run: features second; `outputs` third when they are summed.
        outputs: output of shape (rows, C).
        elements: element type of `outputs`, float or double.
        weight: float64 array of shape (C, p), W of f = Wφ + b, when the moments of f are derived from those of φ.
        buffered: inputs, for each batch of a product but the last: its parts, which may have no rows.
        last: input, a boolean: whether this run adds its rows and the buffered ones; None when each run does.
        layers: patches of hidden layers in the same model. Their accumulators come before those of this patch, and
            their parts behind its own.
    """

    data: bytes
    shapes_before: tuple[str, ...]
    weights: str | None
    targets: str | None
    shift: str
    accumulators: tuple[str, ...]
    accumulated: tuple[str, ...]
    edges: tuple[int, ...]
    has_tallies: bool
    parts: tuple[Part, ...]
    outputs: str
    elements: int
    weight: Array | None = None
    buffered: tuple[tuple[str, ...], ...] = ()
    last: str | None = None
    layers: tuple[Patch, ...] = ()

    @property
    def row_inputs(self) -> dict[str, str]:
        """Names of the inputs "weights" and "targets", those that exist."""
        names = {"weights": self.weights, "targets": self.targets}
        return {role: name for role, name in names.items() if name is not None}

    @property
    def features(self) -> str:
        """Output of shape (rows, p): φ."""
        return self.parts[1].name

    @property
    def batches_per_product(self) -> int:
        """The most batches whose rows one product adds."""
        return 1 + len(self.buffered)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the accumulators."""
        of_layers = tuple(shape for layer in self.layers for shape in layer.shapes)
        return of_layers + tuple(tile_shapes(self.edges)) + ((len(SCORES), 1),) * self.has_tallies

    @property
    def accumulator_slices(self) -> tuple[slice, ...]:
        """Slices of the accumulators of each layer, then the slice of this patch's own."""
        edges = np.cumsum([0, *(len(layer.accumulators) for layer in self.layers)]).tolist()
        return tuple(slice(start, stop) for start, stop in pairwise([*edges, len(self.accumulators)]))

    @property
    def idle_feed(self) -> dict[str, NDArray[Any]]:
        """Inputs for a run whose sums nobody uses: zero accumulators and shifts, and no buffered rows."""
        feed: dict[str, NDArray[Any]] = {patch.shift: np.zeros((1, patch.edges[-1])) for patch in (self, *self.layers)}
        feed |= {name: np.zeros(shape) for name, shape in zip(self.accumulators, self.shapes, strict=True)}
        for names in self.buffered:
            feed |= {name: part.empty for name, part in zip(names, self.parts, strict=True)}
        return feed if self.last is None else feed | {self.last: np.array(False)}

    def with_layers(self, layers: Sequence[Patch]) -> Patch:
        """Join this patch and those of hidden layers into one."""
        buffers = zip(self.buffered, *(layer.buffered for layer in layers), strict=True)
        return replace(
            self,
            data=b"".join([self.data, *(layer.data for layer in layers)]),
            accumulators=(*(name for layer in layers for name in layer.accumulators), *self.accumulators),
            accumulated=(*(name for layer in layers for name in layer.accumulated), *self.accumulated),
            parts=(*self.parts, *(part for layer in layers for part in layer.parts)),
            buffered=tuple(tuple(chain(*names)) for names in buffers),
            layers=tuple(layers),
        )

    def tallies(self, accumulated: Sequence[Array]) -> dict[str, float]:
        """Read the sums of `SCORES` from this patch's own accumulators; empty without tallies."""
        return dict(zip(SCORES, accumulated[-1][:, 0].tolist(), strict=True)) if self.has_tallies else {}

    def matrix(self, accumulated: Sequence[Array]) -> Array:
        """Assemble the symmetric moment matrix from this patch's own accumulators: float64, one row for each entry."""
        return from_tiles(accumulated[: len(accumulated) - self.has_tallies])

    def summed_entries(self, shift: Array) -> Array:
        """Select the entries of a shift, of shape (d,), that belong to the entries of z that are summed."""
        if self.weight is None:
            return shift
        C, p = self.weight.shape
        return np.delete(shift, slice(1 + p, 1 + p + C))


def expose_tensors(model: Model, head: UnmeasuredHead) -> tuple[bytes, list[str]]:
    """Build the patch that outputs the tensors of a head as they are, in double; returns also their names."""
    graph = GraphProto()
    names = [f"{unused_prefix(model)}{role}" for role in ("features", "outputs")]
    for view, name in zip((head.features, head.outputs), names, strict=True):
        graph.node.append(helper.make_node("Cast", [view.tensor], [name], to=TensorProto.DOUBLE))
        graph.output.append(ValueInfoProto(name=name))
    return bytes(ModelProto(graph=graph).SerializeToString()), names


def expose_shapes(model: Model, tensors: Sequence[str]) -> tuple[bytes, list[str]]:
    """Build the patch that outputs the shapes of tensors; returns also the names of these outputs."""
    build = Builder(f"{unused_prefix(model)}shapes.", model.opset)
    names = [build.add("Shape", [tensor]) for tensor in tensors]
    build.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in names)
    return build.serialize(), names


def expose_rows(model: Model, head: Head) -> tuple[bytes, tuple[str, str]]:
    """Build the patch that outputs the head's rows, float32 of shape (rows, p) and (rows, C); returns also the names.

    No name of the model is reused.
    """
    build = Builder(unused_prefix(model), model.opset)
    names = []
    for view, width, role in ((head.features, head.p, "features"), (head.outputs, head.C, "outputs")):
        name = build.add("Cast", [add_row_table(build, view, width)], role, to=TensorProto.FLOAT)
        build.output(name, "rows", width, elements=TensorProto.FLOAT)
        names.append(name)
    return build.serialize(), (names[0], names[1])


def instrument_portable(model: Model, head: Head, shift: Array | None, residual: float | None) -> Patch:
    """Build the patch that sums moments in any runtime: its only inputs are the accumulators, the shift is a constant.

    `Moments.from_accumulators` finds in the model's metadata what it needs to read the moments.

    Args:
        model: the model.
        head: its head.
        shift: float64 array of shape (1 + p + C,), the mean of some rows; zero when left out.
        residual: relative residual of the head's check.
    """
    shift = np.zeros(1 + head.p + head.C) if shift is None else shift
    # Fewer and larger tiles, because the program that drives the model carries each of them from run to run.
    patch = instrument(model, head, shift=shift, memory="cuda")
    description = {
        "sizes": [head.p, head.C],
        "shift": shift.tolist(),
        "dtype": head.affine.dtype if head.affine else "float32",
        "residual": residual or 0.0,
        "features": head.features.tensor,
        "outputs": head.outputs.tensor,
    }
    metadata = ModelProto()
    metadata.metadata_props.add(key=METADATA, value=json.dumps(description))
    return replace(patch, data=patch.data + metadata.SerializeToString())


def check_not_instrumented(model: Model) -> None:
    """Check that a model has no accumulators, which no data feed.

    Raises:
        ModelError: when `instrument_portable` patched the model.
    """
    if any(entry.key == METADATA for entry in model.proto.metadata_props):
        raise ModelError(
            f"{model.path} is instrumented already",
            "a model without accumulators",
            "Pass the model from which it was made, or run this one in any ONNX runtime.",
        )


def instrument(
    model: Model,
    head: Head,
    *,
    K: int = 0,
    classes: Sequence[int] | None = None,
    with_tallies: bool = False,
    masked: bool = False,
    mask: Mask | None = None,
    by_row: bool = False,
    shift: Array | None = None,
    batches_per_product: int = 1,
    derived: bool = False,
    memory: str = "cpu",
    base: Patch | None = None,
    name: str = "",
) -> Patch:
    """Build the patch that outputs the head's rows and sums their moments in accumulators.

    No name of the model is reused.

    Args:
        model: the model.
        head: its head.
        K: number of targets in z.
        classes: numbers of the classes that these are, where they are not 0 to K − 1.
        with_tallies: whether to sum the tallies too: outputs and targets are those of a classifier.
        masked: whether rows can have weight 0; costs one more pass over the rows.
        mask: the model's mask of the rows.
        by_row: whether weights and targets come for each row instead of for each sample.
        shift: float64 array of shape (d,) to fix as a constant; then the accumulators are the patch's only outputs.
        batches_per_product: the most batches whose rows one product adds; more than one pays when batches are short.
        derived: whether the moments of the outputs will be derived from those of φ by W of the head; needs `affine`.
        memory: kind of memory that holds the sums, "cpu" or "cuda": the latter gets fewer and larger tiles.
        base: patch of the model's head, whose inputs this one shares when it is the patch of a hidden layer.
        name: distinguishes this patch from others of the same model.
    """
    build = Builder(f"{unused_prefix(model)}{name}", model.opset)
    tables = add_tables(
        build, head, K=K, masked=masked, mask=mask, by_row=by_row, row_inputs=base.row_inputs if base else None,
        elements=base.elements if base else None,
    )  # fmt: skip
    parts = tuple(part for part in tables.parts if not (derived and part is tables.outputs))
    d = sum(part.width for part in parts)
    shift_name = build.input("shift", [1, d]) if shift is None else build.constant(shift.reshape(1, d))
    sums = accumulate(
        build, parts, shift_name, masked=masked, memory=memory, batches_per_product=batches_per_product,
        last=base.last if base else None,
    )  # fmt: skip
    tallies = add_tallies(build, tables, classes) if with_tallies else ()
    shapes_before: tuple[str, ...] = ()
    if shift is None:
        for table, role in zip(tables.unmerged, ("features", "outputs"), strict=True):
            shape = build.add("Shape", [table], f"{role}_shape")
            build.output(shape, f"{role}_rank", elements=TensorProto.INT64)
            shapes_before = (*shapes_before, shape)
        for part in tables.parts if sums.buffered else (tables.features, tables.outputs):
            build.output(part.name, "rows", part.width, elements=part.elements)
    return Patch(
        data=build.serialize(),
        shapes_before=shapes_before,
        weights=tables.row_inputs.get("weights"),
        targets=tables.row_inputs.get("targets"),
        shift=shift_name,
        accumulators=(*sums.before, *tallies[:1]),
        accumulated=(*sums.after, *tallies[1:]),
        edges=sums.edges,
        has_tallies=with_tallies,
        parts=parts,
        outputs=tables.outputs.name,
        elements=tables.outputs.elements,
        weight=head.affine.weight if derived and head.affine else None,
        buffered=sums.buffered,
        last=sums.last,
    )
