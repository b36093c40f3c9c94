"""The head of a model: its last linear layer, the features that enter it, and the outputs that leave it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from onnxrich.errors import HeadError, ModelError, OnnxrichError
from onnxrich.model.file import Model
from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine, Axes
from onnxrich.model.head.chain import Chain
from onnxrich.model.head.pooling import Pool
from onnxrich.model.head.search import DeadEnd, search_back
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS

# The most candidates that an error lists.
MOST_LISTED = 8


@dataclass(frozen=True, eq=False)
class View:
    """A tensor of the graph, read as a table of rows.

    Attributes:
        tensor: its name in the graph.
        axes: how rows and features lie in it after the steps.
        steps: operators to apply to the tensor first: those that move rows behind the head.
        flattened: whether all axes behind the first hold features.
        scale: names of its scale and zero point when it is quantised.
        samples_axis: the axis of samples among the axes that are left when features come last.
        pool: how a hidden layer becomes rows; then all other attributes but the tensor keep their defaults.
    """

    tensor: str
    axes: Axes = Axes(None, -1)  # noqa: RUF009 - immutable
    steps: tuple[NodeProto, ...] = ()
    flattened: bool = False
    scale: tuple[str, ...] = ()
    samples_axis: int = 0
    pool: Pool | None = None


@dataclass(frozen=True, eq=False)
class UnmeasuredHead:
    """A head between tensors that the user chose. Only a run shows its widths, see `measure_head`.

    Attributes:
        features: the tensor of φ.
        outputs: the tensor of f.
        kind: a description for people.
        C: number of outputs; None when it is not known.
    """

    features: View
    outputs: View
    kind: str
    C: int | None = None

    @property
    def known_widths(self) -> tuple[int, int]:
        """p and C, each 0 when it is not known."""
        return 0, self.C or 0


@dataclass(frozen=True, eq=False)
class Head:
    """A head of known widths: features φ, outputs f.

    Attributes:
        features: where φ is read.
        outputs: where f is read.
        kind: the operators that compute f from φ, for people.
        p: number of features.
        C: number of outputs.
        affine: the map f = Wφ + b; None when the user chose tensors and the graph shows no map between them.
    """

    features: View
    outputs: View
    kind: str
    p: int
    C: int
    affine: Affine | None = None

    @property
    def label(self) -> str:
        """Operators, tensors and widths in one line, for lists."""
        tensors = f"--features {self.features.tensor!r} --outputs {self.outputs.tensor!r}"
        return f"{self.kind}: {tensors}, p = {self.p}, C = {self.C}"

    @property
    def known_widths(self) -> tuple[int, int]:
        """p and C."""
        return self.p, self.C


def find_head(
    model: Model, *, features: str | None = None, outputs: str | None = None, number: int | None = None
) -> Head | UnmeasuredHead:
    """Find the one head of a model, or the head that the user chose by tensor names or by its number.

    Args:
        model: the model.
        features: name of the tensor to take as penultimate layer.
        outputs: name of the tensor, or of the model's output, to take the outputs from.
        number: which of several heads, from 1 in the order in which the error lists them.

    Raises:
        HeadError: when a name is unknown, or when no head or several heads fit; the message lists the candidates.
    """
    graph = Graph(model)
    for name in (features, outputs):
        if name is not None and name not in graph.names:
            raise _unknown_tensor(graph, name)
    heads, dead_ends = find_candidates(graph, graph.outputs if outputs is None else (outputs,))
    if features is not None:
        matching = [head for head in heads if head.features.tensor == features]
        if not matching:
            return _chosen_tensors(features, outputs, number, heads)
        heads = matching
    if number is not None and heads:
        return _numbered(heads, number)
    if len(heads) != 1:
        raise _not_one(graph, heads, dead_ends)
    return heads[0]


def find_candidates(graph: Graph, starts: Sequence[str]) -> tuple[list[Head], list[DeadEnd]]:
    """Find the distinct heads of some tensors, and the tensors at which the search from the others stopped."""
    heads: dict[tuple[str, str], Head] = {}
    dead_ends: list[DeadEnd] = []
    for start in starts:
        ends = _search(graph, start)
        stops = [end for end in ends if isinstance(end, DeadEnd)]
        dead_ends.extend(stops)
        if not stops:
            reached = [_head_of(end) for end in ends if isinstance(end, Chain)]
            heads.update(((head.features.tensor, head.outputs.tensor), head) for head in reached)
    return _without_hidden_layers(graph, list(heads.values())), dead_ends


def measure_head(head: UnmeasuredHead, features_shape: tuple[int, ...], outputs_shape: tuple[int, ...]) -> Head:
    """Give a head the views and widths that the shapes of its tensors in a run show.

    Raises:
        HeadError: when a tensor has fewer than two axes.
    """
    features, outputs = _view_of(head.features.tensor, features_shape), _view_of(head.outputs.tensor, outputs_shape)
    p, C = features_shape[features.axes.features], outputs_shape[outputs.axes.features]
    pooling = " (global average pooling)" if features.steps else ""
    return Head(features, outputs, head.kind + pooling, p, C)


def affine_residual(head: Head, features: Array, outputs: Array) -> float | None:
    """Compute ‖f − (Wφ + b)‖/‖f‖ on some rows, in double; None when W and b are not known.

    Each output counts relative to its own size, and the result is their root mean square: an output in a large unit,
    or with a bias of −1e9, hides no difference of the others.

    Args:
        head: the head.
        features: float64 array of shape (rows, p).
        outputs: float64 array of shape (rows, C).
    """
    if head.affine is None:
        return None
    if features.shape[1:] != (head.p,) or outputs.shape != (len(features), head.C):
        return float("inf")
    with np.errstate(all="ignore"):  # the pass finds rows that are not finite, and names them
        predicted = features @ head.affine.weight.T + head.affine.bias
        # A bias of −∞ suppresses an output: there the two agree, though their difference is no number.
        distances = np.linalg.norm(np.where(outputs == predicted, 0, outputs - predicted), axis=0)
        relative = np.divide(distances, np.linalg.norm(outputs, axis=0), out=distances, where=distances > 0)
    return float(np.sqrt(np.mean(relative**2)))


def allowed_residual(head: Head) -> float:
    """Compute the largest residual that the head's arithmetic explains.

    Rounding of the outputs gives a few eps of their format, and a sum of p products in float32 some √p·eps(float32).
    """
    dtype = head.affine.dtype if head.affine else "float32"
    products = 16 * np.sqrt(head.p or 1) * EPS["float64" if dtype == "float64" else "float32"]
    quantization = head.affine.quantization_step if head.affine else 0.0
    return float(min(0.1, max(64 * EPS[dtype], products, quantization)))


def _search(graph: Graph, start: str) -> list[Chain | DeadEnd]:
    try:
        return search_back(graph, start)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, OnnxrichError):
            raise
        # The readers rely on the inputs that ONNX prescribes for each operator, and this one lacks some.
        raise ModelError(
            f"An operator behind output {start!r} is malformed ({type(error).__name__})",
            "operators with the inputs and attributes that ONNX prescribes",
            "Check the model with onnx.checker.check_model(model, full_check=True).",
        ) from error


def _head_of(chain: Chain) -> Head:
    affine = chain.affine
    axes = chain.axes if chain.steps else affine.features_axes
    features = View(affine.features, axes, chain.steps, affine.flattened, affine.features_scale)
    kind = affine.kind + ("+mean" if chain.is_pooled else "")
    if affine.weight.ndim != 2:
        raise ModelError(
            f"The weight of the {affine.kind} behind output {chain.outputs!r} has {affine.weight.ndim} axes",
            "a matrix",
            "Check the model with onnx.checker.check_model(model, full_check=True).",
        )
    C, p = affine.weight.shape
    return Head(features, View(chain.outputs, chain.axes, scale=affine.outputs_scale), kind, p, C, affine)


def _without_hidden_layers(graph: Graph, heads: list[Head]) -> list[Head]:
    """Leave out heads whose outputs feed another head's features: these are hidden layers that the model outputs."""
    if len(heads) < 2:
        return heads
    ancestors = [graph.ancestors(head.features.tensor) for head in heads]
    return [head for head in heads if not any(head.outputs.tensor in tensors for tensors in ancestors)]


def _view_of(tensor: str, shape: tuple[int, ...]) -> View:
    """Read a tensor of this shape as rows: the last axis holds features, in maps the second after a mean."""
    if len(shape) < 2:
        raise HeadError(
            f"Tensor {tensor!r} has shape {shape}",
            "a tensor of shape (rows, width), (rows, tokens, width) or (rows, channels, height, width)",
            "Pass another name to --features or --outputs.",
        )
    is_map = len(shape) > 3
    steps = (helper.make_node("GlobalAveragePool", [tensor], ["pooled"]),) if is_map else ()
    return View(tensor, Axes(len(shape), 1 if is_map else len(shape) - 1, unit=is_map), steps)


def _chosen_tensors(features: str, outputs: str | None, number: int | None, heads: list[Head]) -> UnmeasuredHead:
    """Take tensors as features and outputs between which the graph shows no linear layer."""
    if number is not None:
        raise HeadError(
            f"Head {number} was asked for with features {features!r}, which belong to no head",
            "one of the two",
            "Leave out --head. Pass --outputs NAME when several outputs are possible.",
        )
    if outputs is not None:
        return UnmeasuredHead(View(features), View(outputs), "chosen tensors")
    if len(heads) == 1:
        return UnmeasuredHead(View(features), heads[0].outputs, "chosen features", heads[0].C)
    raise HeadError(
        f"Features {features!r} were chosen, and the model has {len(heads)} possible heads",
        "the outputs that belong to these features",
        "Pass --outputs NAME as well." + _listing([head.label for head in heads]),
    )


def _numbered(heads: list[Head], number: int) -> Head:
    if not 1 <= number <= len(heads):
        listed = _listing([head.label for head in heads])
        raise HeadError(f"There is no head {number}", f"a number from 1 to {len(heads)}", "Pass one of these:" + listed)
    return heads[number - 1]


def _unknown_tensor(graph: Graph, name: str) -> HeadError:
    similar = difflib.get_close_matches(name, graph.names, n=5, cutoff=0.4) or sorted(graph.outputs)[:5]
    return HeadError(f"The model has no tensor {name!r}", "the name of a tensor", f"Did you mean one of {similar}?")


def _not_one(graph: Graph, heads: list[Head], dead_ends: list[DeadEnd]) -> HeadError:
    if heads:
        return HeadError(
            f"The model has {len(heads)} possible heads",
            "one head",
            "Pass --head K, or --head all, or names:" + _listing([head.label for head in heads]),
        )
    reasons = [f"at {end.tensor!r}, {end.reason}" for end in dead_ends]
    return HeadError(
        "No head was found: " + "; ".join(reasons[:MOST_LISTED] or ["the outputs come from different linear layers"]),
        "outputs that come from one linear layer with a constant weight",
        "Pass --features NAME and --outputs NAME to choose the tensors yourself." + _linear_layers(graph),
    )


def _linear_layers(graph: Graph) -> str:
    nodes = [node for node in graph.model.proto.graph.node if node.op_type in ("Gemm", "MatMul", "Conv")]
    last = reversed(nodes[-MOST_LISTED:])
    labels = [f"{node.op_type}: --features {node.input[0]!r} --outputs {node.output[0]!r}" for node in last]
    return " Linear layers, the last first:" + _listing(labels) if labels else ""


def _listing(labels: Sequence[str]) -> str:
    more = f" … and {len(labels) - MOST_LISTED} more" if len(labels) > MOST_LISTED else ""
    return " " + "; ".join(f"({number}) {label}" for number, label in enumerate(labels[:MOST_LISTED], 1)) + more
