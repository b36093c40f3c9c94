"""The head of a model: its last linear layer, the features that enter it, and the outputs that leave it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto, helper

from onnxrich.errors import HeadError, ModelError, Notice
from onnxrich.model.file import Model
from onnxrich.model.graph import Graph
from onnxrich.model.head.affine import Affine, Axes
from onnxrich.model.head.chain import Chain
from onnxrich.model.head.messages import MAX_MESSAGE, explain_no_head, fit, listing_error
from onnxrich.model.head.pooling import Pool
from onnxrich.model.head.search import DeadEnd, find_between, search_back
from onnxrich.model.validity import refuse_malformed
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import EPS


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
        samples_fastest: an input of the model and its axis of samples, when the rows of a table are tokens that share
            their axis with the samples, and samples run fastest (time-major); None for all other tables.
        pool: how a hidden layer becomes rows; then all other attributes but the tensor keep their defaults.
    """

    tensor: str
    axes: Axes = Axes(None, -1)  # noqa: RUF009 - immutable
    steps: tuple[NodeProto, ...] = ()
    flattened: bool = False
    scale: tuple[str, ...] = ()
    samples_axis: int = 0
    samples_fastest: tuple[str, int] | None = None
    pool: Pool | None = None


@dataclass(frozen=True, eq=False)
class UnmeasuredHead:
    """A head between tensors that the user chose. Only a run shows its widths, see `measure_head`.

    Attributes:
        features: the tensor of φ.
        outputs: the tensor of f.
        kind: a description for people.
        C: number of outputs; None when it is not known.
        notices: what a reader should know of the choice of this head.
    """

    features: View
    outputs: View
    kind: str
    C: int | None = None
    notices: tuple[Notice, ...] = ()

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
        notices: what a reader should know of the choice of this head.
    """

    features: View
    outputs: View
    kind: str
    p: int
    C: int
    affine: Affine | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def derives_outputs(self) -> bool:
        """Whether the moments of the outputs are derived from those of the features.

        With more outputs than features that is cheaper. Not where the head rounds its operands to integers: there
        Wφ + b is not exactly its output.
        """
        return self.affine is not None and self.p < self.C and not self.affine.quantization_step

    @property
    def label(self) -> str:
        """Operators, tensors and widths in one line, for lists."""
        tensors = f"--features {self.features.tensor!r} --outputs {self.outputs.tensor!r}"
        return f"{self.kind}: {tensors}, p = {self.p}, C = {self.C}"

    @property
    def short_label(self) -> str:
        """What chooses this head among others."""
        return f"--outputs {self.outputs.tensor!r}"

    @property
    def known_widths(self) -> tuple[int, int]:
        """p and C."""
        return self.p, self.C


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the search back from some tensors found.

    Attributes:
        whole: heads of which such a tensor is a function, by the name of the tensor.
        parts: linear layers of which a tensor is a function only together, by the name of the tensor.
        dead_ends: where the search from a tensor stopped, by the name of the tensor.
        heads: the distinct heads and parts, without hidden layers that the model outputs, in order.
    """

    whole: dict[str, Head]
    parts: dict[str, list[Head]]
    dead_ends: dict[str, list[DeadEnd]]
    heads: list[Head]

    @property
    def is_unique(self) -> bool:
        """Whether there is one head, and a tensor is a function of its outputs alone."""
        return len(self.heads) == 1 and any(_is_same(head, self.heads[0]) for head in self.whole.values())

    @property
    def has_other_outputs(self) -> bool:
        """Whether some tensors are no function of the one head."""
        others = [head for head in self.whole.values() if not _is_same(head, self.heads[0])]
        return bool(self.dead_ends or self.parts or others)

    @property
    def joined(self) -> str | None:
        """A tensor that is a function of several linear layers; None when there is none."""
        names = [name for name, heads in self.parts.items() if any(_is_same(a, b) for a in heads for b in self.heads)]
        return names[0] if names else None


def find_head(
    model: Model, *, features: str | None = None, outputs: str | None = None, number: int | None = None
) -> Head | UnmeasuredHead:
    """Find the one head of a model, or the head that the user chose by tensor names or by its number.

    Args:
        model: the model.
        features: name of the tensor to take as penultimate layer.
        outputs: name of the tensor, or of the model's output, to take the outputs from. With `features`, these two
            tensors are measured, whatever lies between them.
        number: which of several heads, from 1 in the order in which the error lists them.

    Raises:
        HeadError: when a name is unknown, or when no head or several heads fit; the message lists the candidates.
    """
    graph = Graph(model)
    for name in (features, outputs):
        if name is not None and name not in graph.names:
            raise _unknown_tensor(graph, name)
    if features is not None and outputs is not None:
        return _between(graph, features, outputs, number)
    candidates = find_candidates(graph, graph.outputs if outputs is None else (outputs,))
    if features is not None:
        return _of_features(graph, features, number, candidates)
    if number is not None and candidates.heads:
        return _with_notices(_numbered(candidates.heads, number), candidates)
    if not candidates.is_unique:
        raise _not_one(graph, candidates)
    return _with_notices(candidates.heads[0], candidates)


def find_candidates(graph: Graph, starts: Sequence[str]) -> Candidates:
    """Find the heads of some tensors, and where the search from the others stopped."""
    whole: dict[str, Head] = {}
    parts: dict[str, list[Head]] = {}
    dead_ends: dict[str, list[DeadEnd]] = {}
    for start in starts:
        with refuse_malformed(f"An operator behind output {start!r}"):
            ends = search_back(graph, start)
        stops = [end for end in ends if isinstance(end, DeadEnd)]
        heads = [_head_of(end) for end in ends if isinstance(end, Chain)]
        if stops or not heads:
            dead_ends[start] = stops or [DeadEnd(start, "no linear layer computes it")]
        elif len(heads) == 1:
            whole[start] = heads[0]
        else:
            parts[start] = heads
    _leave_out_unread(graph, whole)
    distinct = {
        (head.features.tensor, head.outputs.tensor): head
        for start in starts
        for head in [*([whole[start]] if start in whole else []), *parts.get(start, [])]
    }
    return Candidates(whole, parts, dead_ends, _without_hidden_layers(graph, list(distinct.values()), whole))


def _leave_out_unread(graph: Graph, whole: dict[str, Head]) -> None:
    """Leave out the outputs of a head that do not reach the one tensor which needs the head, such as unused classes."""
    keys = {start: (head.features.tensor, head.outputs.tensor) for start, head in whole.items()}
    uses = Counter(keys.values())
    for start, key in keys.items():
        if uses[key] == 1:
            with refuse_malformed(f"An operator behind output {start!r}"):
                ends = search_back(graph, start, selects=True)
            whole[start] = next((_head_of(end) for end in ends if isinstance(end, Chain)), whole[start])


def measure_head(head: UnmeasuredHead, features_shape: tuple[int, ...], outputs_shape: tuple[int, ...]) -> Head:
    """Give a head the views and widths that the shapes of its tensors in a run show.

    Raises:
        HeadError: when a tensor has fewer than two axes.
    """
    features, outputs = _view_of(head.features.tensor, features_shape), _view_of(head.outputs.tensor, outputs_shape)
    p, C = features_shape[features.axes.features], outputs_shape[outputs.axes.features]
    pooling = " (global average pooling)" if features.steps else ""
    return Head(features, outputs, head.kind + pooling, p, C, notices=head.notices)


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
    outputs = View(chain.outputs, chain.axes, affine.outputs_steps, scale=affine.outputs_scale)
    notices = () if chain.activation is None else (_embedding_notice(chain),)
    return Head(features, outputs, kind, p, C, affine, notices)


def _is_same(head: Head, other: Head) -> bool:
    return (head.features.tensor, head.outputs.tensor) == (other.features.tensor, other.outputs.tensor)


def _without_hidden_layers(graph: Graph, heads: list[Head], whole: dict[str, Head]) -> list[Head]:
    """Leave out heads whose outputs feed the features of another output's head: hidden layers that the model outputs.

    An output that is a function of several layers needs each of them. So only a head of another output drops one.
    """
    if len(heads) < 2:
        return heads
    ancestors = [(head, graph.ancestors(head.features.tensor)) for head in whole.values()]
    return [
        head
        for head in heads
        if not any(head.outputs.tensor in tensors and not _is_same(head, last) for last, tensors in ancestors)
    ]


def _embedding_notice(chain: Chain) -> Notice:
    return Notice(
        "embedding_output",
        f"{chain.activation} follows the last linear layer, and no other linear layer does: if the output is an "
        "embedding, the model has no head, and D_LR compares features with the values before that operator.",
    )


def _with_notices(head: Head, candidates: Candidates) -> Head:
    """Add the notice of the outputs that are not measured."""
    reasons = {name: f"at {ends[0].tensor!r}, {ends[0].reason}" for name, ends in candidates.dead_ends.items()}
    reasons |= {name: f"it depends on {len(heads)} linear layers" for name, heads in candidates.parts.items()}
    heads = {name: other for name, other in candidates.whole.items() if not _is_same(head, other)}
    kept = [other for other in heads.values() if any(_is_same(other, shown) for shown in candidates.heads)]
    reasons |= {name: "another head" if other in kept else "a hidden layer" for name, other in heads.items()}
    if not reasons:
        return head
    texts = [f"{name!r} ({reason})" for name, reason in reasons.items()]
    beginning = f"Only outputs from {head.outputs.tensor!r} are measured. Other outputs of the model: "
    notice = Notice("other_outputs", beginning + fit(texts, MAX_MESSAGE - len(beginning), "onnxrich inspect"))
    return replace(head, notices=(*head.notices, notice))


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


def _between(graph: Graph, features: str, outputs: str, number: int | None) -> Head | UnmeasuredHead:
    """Take two tensors as features and outputs, with the affine map between them if the graph shows one."""
    with refuse_malformed(f"An operator behind {outputs!r}"):
        chain = find_between(graph, features, outputs)
    if chain is not None:
        return _head_of(chain) if number is None else _numbered([_head_of(chain)], number)
    if number is not None:
        raise _number_of_no_head(features, number)
    return UnmeasuredHead(View(features), View(outputs), "chosen tensors")


def _of_features(graph: Graph, features: str, number: int | None, candidates: Candidates) -> Head | UnmeasuredHead:
    """Take the head of chosen features; or these features with the outputs of the model's one head."""
    matching = [head for head in candidates.heads if head.features.tensor == features]
    if number is not None and matching:
        return _with_notices(_numbered(matching, number), candidates)
    whole = [head for head in matching if any(_is_same(head, other) for other in candidates.whole.values())]
    if matching and (len(matching), len(whole)) != (1, 1):
        raise _not_one(graph, replace(candidates, heads=matching))
    if matching:
        return _with_notices(matching[0], candidates)
    if number is not None:
        raise _number_of_no_head(features, number)
    if candidates.is_unique:
        head = _with_notices(candidates.heads[0], candidates)
        return UnmeasuredHead(View(features), head.outputs, "chosen features", head.C, head.notices)
    raise listing_error(
        f"Features {features!r} were chosen, and the model has {len(candidates.heads)} possible heads",
        "the outputs that belong to these features",
        "Pass --outputs NAME as well.",
        [head.label for head in candidates.heads],
    )


def _number_of_no_head(features: str, number: int) -> HeadError:
    return HeadError(
        f"Head {number} was asked for with features {features!r}, which belong to no head",
        "one of the two",
        "Leave out --head. Pass --outputs NAME when several outputs are possible.",
    )


def _numbered(heads: list[Head], number: int) -> Head:
    if not 1 <= number <= len(heads):
        labels = [head.label for head in heads]
        raise listing_error(
            f"There is no head {number}", f"a number from 1 to {len(heads)}", "Pass one of these:", labels
        )
    return heads[number - 1]


def _unknown_tensor(graph: Graph, name: str) -> HeadError:
    similar = difflib.get_close_matches(name, graph.names, n=5, cutoff=0.4) or sorted(graph.outputs)[:5]
    return HeadError(f"The model has no tensor {name!r}", "the name of a tensor", f"Did you mean one of {similar}?")


def _not_one(graph: Graph, candidates: Candidates) -> HeadError:
    heads = candidates.heads
    if heads:
        joined = candidates.joined
        own = f"For {joined!r} itself pass --features NAME --outputs {joined!r}, for a part --head K or names:"
        return listing_error(
            f"The model has {len(heads)} possible heads" + (f", {joined!r} depends on several" if joined else ""),
            "one head",
            own if joined else "Pass --head K, or --head all, or names:",
            [head.label for head in heads],
            [head.short_label for head in heads],
        )
    return explain_no_head(graph, candidates.dead_ends)
