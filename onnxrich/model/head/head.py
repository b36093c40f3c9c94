"""Find the head of a model: its last linear layer, what goes into it (the penultimate layer) and what comes out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, helper

from onnxrich.errors import HeadError, ModelError, OnnxrichError
from onnxrich.model.file import Model
from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine, Axes
from onnxrich.model.head.chain import Chain
from onnxrich.model.head.pooling import Pool
from onnxrich.model.head.search import DeadEnd, walk
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# How many candidates an error names.
LISTED = 8


@dataclass(frozen=True, eq=False)
class View:
    """A tensor of the graph, read as a table of rows.

    Attributes:
        tensor: its name in the graph.
        axes: how rows and features lie in it, after the steps.
        steps: operators of the graph to be applied to it: those that move rows behind the head.
        flat: whether all its axes behind the first are features.
        scale: names of its scale and zero point when it is quantised.
        samples: the axis that runs over samples, of those left when features come last.
        pool: how rows are made of a hidden layer; then all but the tensor is left at its default.
    """

    tensor: str
    axes: Axes = Axes(None, -1)  # noqa: RUF009 - immutable
    steps: tuple[NodeProto, ...] = ()
    flat: bool = False
    scale: tuple[str, ...] = ()
    samples: int = 0
    pool: Pool | None = None


@dataclass(frozen=True, eq=False)
class Head:
    """A head: features φ, outputs f.

    Attributes:
        features: where φ is read.
        outputs: where f is read.
        kind: operators that make f from φ, for people.
        p: number of features, None until measured.
        C: number of outputs, None until measured.
        affine: the map f = Wφ + b; None when the user chose tensors between which none can be read off.
    """

    features: View
    outputs: View
    kind: str
    p: int | None = None
    C: int | None = None
    affine: Affine | None = None

    @property
    def label(self) -> str:
        """One line for lists: operators, tensors, widths."""
        widths = f", p = {self.p}, C = {self.C}" if self.p else ""
        return f"{self.kind}: --features {self.features.tensor!r} --outputs {self.outputs.tensor!r}{widths}"


def find(model: Model, *, features: str | None = None, outputs: str | None = None, number: int | None = None) -> Head:
    """The one head of a model, or the one that the user chose by tensor names or by its number.

    Args:
        model: the model.
        number: which of several heads, from 1 in the order in which the error lists them.
        features: name of the tensor to take as penultimate layer.
        outputs: name of the tensor, or of the model's output, to take the outputs from.

    Raises:
        HeadError: when a name is unknown, or none or several heads fit; the message lists the candidates.
    """
    graph = Graph(model)
    for name in (features, outputs):
        if name is not None and name not in graph.names:
            raise _unknown(graph, name)
    starts = (outputs,) if outputs is not None else graph.outputs
    heads, dead_ends = candidates(graph, starts)
    if features is not None:
        fitting = [head for head in heads if head.features.tensor == features]
        if not fitting and number is not None:
            raise HeadError(
                f"head {number} with features {features!r}, which belong to no head",
                "one of the two",
                "Leave out --head; pass --outputs NAME where several outputs are possible.",
            )
        if not fitting:
            return _chosen(features, outputs, heads)
        heads = fitting
    if number is not None and heads:
        if not 1 <= number <= len(heads):
            listed = _listing([head.label for head in heads])
            raise HeadError(f"head {number}", f"a number from 1 to {len(heads)}", "The heads are:" + listed)
        return heads[number - 1]
    if len(heads) != 1:
        raise _not_one(graph, heads, dead_ends)
    return heads[0]


def candidates(graph: Graph, starts: Sequence[str]) -> tuple[list[Head], list[DeadEnd]]:
    """Distinct heads of some tensors, and where the walk from the others ended."""
    heads: dict[tuple[str, str], Head] = {}
    dead_ends: list[DeadEnd] = []
    for start in starts:
        ends = _walked(graph, start)
        found = [_head(end) for end in ends if isinstance(end, Chain)]
        stopped = [end for end in ends if isinstance(end, DeadEnd)]
        dead_ends.extend(stopped)
        if not stopped:
            heads.update(((head.features.tensor, head.outputs.tensor), head) for head in found)
    return _last(graph, list(heads.values())), dead_ends


def _walked(graph: Graph, start: str) -> list[Chain | DeadEnd]:
    try:
        return walk(graph, start)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, OnnxrichError):
            raise
        # Readers take operators to have the inputs that ONNX prescribes: here one had not.
        raise ModelError(
            f"a malformed operator behind output {start!r} ({type(error).__name__})",
            "operators with the inputs and attributes that ONNX prescribes",
            "Check the model with onnx.checker.check_model(model, full_check=True).",
        ) from error


def measure(head: Head, features_shape: tuple[int, ...], outputs_shape: tuple[int, ...]) -> Head:
    """The head with views and widths as the shapes of its tensors say; for tensors that the user chose.

    Raises:
        HeadError: when a tensor has fewer than two axes.
    """
    views = []
    for view, shape in ((head.features, features_shape), (head.outputs, outputs_shape)):
        if len(shape) < 2:
            raise HeadError(
                f"tensor {view.tensor!r} of shape {shape}",
                "a tensor of shape (rows, width), (rows, tokens, width) or (rows, channels, height, width)",
                "Pass another name to --features or --outputs.",
            )
        maps = len(shape) > 3
        steps = (helper.make_node("GlobalAveragePool", [view.tensor], ["pooled"]),) if maps else ()
        views.append(View(view.tensor, Axes(len(shape), 1 if maps else len(shape) - 1, unit=maps), steps))
    p, C = (shape[view.axes.features] for view, shape in zip(views, (features_shape, outputs_shape), strict=True))
    pooled = " (global average pooling)" if views[0].steps else ""
    return replace(head, features=views[0], outputs=views[1], p=p, C=C, kind=head.kind + pooled)


def residual(head: Head, features: Array, outputs: Array) -> float | None:
    """Relative distance ‖f − (Wφ + b)‖/‖f‖ on some rows, in double; None when W and b are not known.

    Args:
        head: the head.
        features: float64 array of shape (rows, p).
        outputs: float64 array of shape (rows, C).
    """
    if head.affine is None:
        return None
    if features.shape[1:] != (head.p,) or outputs.shape != (len(features), head.C):
        return float("inf")
    with np.errstate(all="ignore"):  # rows that are not finite are found, and named, by the pass
        predicted = features @ head.affine.weight.T + head.affine.bias
        scale = float(np.linalg.norm(outputs))
        distance = float(np.linalg.norm(outputs - predicted))
    return 0.0 if distance == 0 else distance / scale if scale else float("inf")


def allowed_residual(head: Head) -> float:
    """The largest residual that the head's arithmetic explains.

    Rounding the outputs gives some eps of their format, and a sum of p products in float32 some √p·eps(float32).
    """
    dtype = head.affine.dtype if head.affine else "float32"
    products = 16 * np.sqrt(head.p or 1) * EPS["float64" if dtype == "float64" else "float32"]
    steps = head.affine.steps if head.affine else 0.0
    return float(min(0.1, max(64 * EPS[dtype], products, steps)))


def _head(chain: Chain) -> Head:
    affine = chain.affine
    inner = View(
        affine.features,
        chain.axes if chain.steps else affine.features_axes,
        chain.steps,
        affine.flat,
        affine.features_scale,
    )
    kind = affine.kind + ("+mean" if chain.pooled else "")
    C, p = affine.weight.shape
    return Head(inner, View(chain.outputs, chain.axes, scale=affine.outputs_scale), kind, p, C, affine)


def _last(graph: Graph, heads: list[Head]) -> list[Head]:
    """Heads whose outputs feed another head's features are hidden layers that the model also shows: leave them out."""
    if len(heads) < 2:
        return heads
    ancestors = [graph.ancestors(head.features.tensor) for head in heads]
    return [head for head in heads if not any(head.outputs.tensor in before for before in ancestors)]


def _chosen(features: str, outputs: str | None, heads: list[Head]) -> Head:
    if outputs is not None:
        return Head(View(features), View(outputs), "chosen tensors")
    if len(heads) == 1:
        return replace(heads[0], features=View(features), kind="chosen features", p=None, affine=None)
    raise HeadError(
        f"features {features!r} and {len(heads)} possible heads",
        "the outputs that belong to these features",
        "Pass --outputs NAME as well." + _listing([head.label for head in heads]),
    )


def _unknown(graph: Graph, name: str) -> HeadError:
    near = difflib.get_close_matches(name, graph.names, n=5, cutoff=0.4) or sorted(graph.outputs)[:5]
    return HeadError(f"no tensor {name!r} in the model", "the name of a tensor", f"Did you mean one of {near}?")


def _not_one(graph: Graph, heads: list[Head], dead_ends: list[DeadEnd]) -> HeadError:
    if heads:
        return HeadError(
            f"{len(heads)} possible heads",
            "one",
            "Pass --head K, or --head all, or names:" + _listing([head.label for head in heads]),
        )
    reasons = [f"{end.tensor!r}: {end.reason}" for end in dead_ends] or [
        "the outputs come from different linear layers"
    ]
    return HeadError(
        "no head: " + "; ".join(reasons[:LISTED]),
        "outputs that come from one linear layer with a constant weight",
        "Pass --features NAME and --outputs NAME to choose the tensors yourself." + _linear_layers(graph),
    )


def _linear_layers(graph: Graph) -> str:
    nodes = [node for node in graph.model.proto.graph.node if node.op_type in ("Gemm", "MatMul", "Conv")][-LISTED:]
    labels = [f"{node.op_type}: --features {node.input[0]!r} --outputs {node.output[0]!r}" for node in reversed(nodes)]
    return " Linear layers, the last first:" + _listing(labels) if labels else ""


def _listing(labels: Sequence[str]) -> str:
    more = f" … and {len(labels) - LISTED} more" if len(labels) > LISTED else ""
    return " " + "; ".join(f"({number}) {label}" for number, label in enumerate(labels[:LISTED], 1)) + more
