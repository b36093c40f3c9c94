"""The patch: a small protobuf message that, appended to a model's bytes, makes it yield its head and its moments.

protobuf merges concatenated messages, and a repeated field is appended to. So `model bytes + patch bytes` is the model
with further nodes, inputs and outputs: no decode and re-encode of the weights, and what was changed can be read on its
own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxrich.head import Head
from onnxrich.model import Model
from onnxrich.moments import METADATA, TALLIES, Array, from_panels
from onnxrich.rewrite.builder import Builder, prefix

# Columns of one block row of the moment matrix. Only the blocks on and above the diagonal are computed: with b block
# rows (b + 1)/2b of the product's cost. Narrower blocks than this make the product itself slower.
PANEL = 256
MOST_PANELS = 8


@dataclass(frozen=True)
class Patch:
    """What to append to a model, and the names by which to drive it.

    Each run takes one batch and the accumulators, and gives the next accumulators. Accumulator j is the block row
    Σ w (z − shift)[edges[j]:edges[j+1]] (z − shift)[edges[j]:]ᵀ of the moment matrix. With `counts`, a last one of
    shape (2, 1) holds the sums of `moments.TALLIES`.

    Attributes:
        data: serialized ModelProto.
        features: output, float64 of shape (rows, p).
        outputs: output, float64 of shape (rows, C).
        shape: output, the shape of φ before its rows are laid out.
        weights: input, float64 of shape (samples or rows, 1): 1, or 0 for padding; None where all rows count.
        targets: input, float64 of shape (samples or rows, K); None without labels.
        shift: input, float64 of shape (1, d).
        accumulators: inputs.
        accumulated: outputs, in the order of `accumulators`.
        edges: first columns of the block rows, and d at the end.
    """

    data: bytes
    features: str
    outputs: str
    shape: str
    weights: str | None
    targets: str | None
    shift: str
    accumulators: tuple[str, ...]
    accumulated: tuple[str, ...]
    edges: tuple[int, ...]
    counts: bool

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes of the accumulators."""
        rows = tuple(
            (stop - start, self.edges[-1] - start) for start, stop in zip(self.edges, self.edges[1:], strict=False)
        )
        return rows + ((len(TALLIES), 1),) * self.counts

    def tallies(self, accumulated: Sequence[Array]) -> dict[str, float]:
        """The sums of `moments.TALLIES`, where they are counted."""
        return dict(zip(TALLIES, accumulated[-1][:, 0].tolist(), strict=True)) if self.counts else {}

    def matrix(self, accumulated: Sequence[Array]) -> Array:
        """The symmetric moment matrix, float64 of shape (d, d), from the accumulated block rows."""
        return from_panels(accumulated[: len(accumulated) - self.counts])


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


def expose(model: Model, head: Head) -> tuple[bytes, tuple[str, str]]:
    """The patch that adds the head's rows as float32 outputs of shape (rows, p) and (rows, C), and their names.

    Requires a head whose widths p and C are known; ensures that no name of the model is taken.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = Builder(prefix(model), model.opset)
    names = []
    for view, width, name in ((head.features, head.p, "features"), (head.outputs, head.C, "outputs")):
        rows = build.rows(view, width, f"double.{name}")
        made = build.add("Cast", [rows], name, to=TensorProto.FLOAT)
        build.output(made, width, dtype=TensorProto.FLOAT)
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
    patch = instrument(model, head, shift=about)
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
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    build = Builder(prefix(model), model.opset)
    phi, f = build.rows(head.features, head.p, "features"), build.rows(head.outputs, head.C, "outputs")
    given = "rows" if by_row else "samples"
    weights = build.input("weights", [given, 1]) if masked else None
    parts = [build.ones(phi) if weights is None else build.per_row(weights, phi, 1, by_row=by_row), phi, f]
    if mask is not None:
        counted = build.add("Cast", [build.add("Reshape", [mask, build.integers([-1, 1])])], to=TensorProto.DOUBLE)
        parts[0] = build.add("Mul", [parts[0], counted])
    targets = build.input("targets", [given, K]) if K else None
    if targets:
        parts.append(build.per_row(targets, phi, K, by_row=by_row))
    d = 1 + head.p + head.C + K
    about = build.input("shift", [1, d]) if shift is None else build.constant(shift.reshape(1, d))
    z = build.add("Sub", [build.add("Concat", parts, axis=1), about])
    if masked:
        z = build.add("Mul", [z, parts[0]])
    edges = panel_edges(d)
    pairs = build.moments(z, edges)
    if count:
        pairs.append(build.tallies(f, parts[-1], parts[0], head.C, K))
    shape = build.shape_output() if shift is None else ""
    if shift is None:
        build.output(phi, head.p)
        build.output(f, head.C)
    return Patch(
        data=build.serialize(),
        features=phi,
        outputs=f,
        shape=shape,
        weights=weights,
        targets=targets,
        shift=about,
        accumulators=tuple(before for before, _ in pairs),
        accumulated=tuple(after for _, after in pairs),
        edges=edges,
        counts=count,
    )


def panel_edges(d: int) -> tuple[int, ...]:
    """Where the block rows of a d × d moment matrix begin, and d at the end."""
    count = min(MOST_PANELS, max(1, d // PANEL))
    return tuple(int(edge) for edge in np.linspace(0, d, count + 1))
