"""Messages about heads that fit in a few lines: as many candidates as there is room for, and how to see the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from onnxrich.errors import HeadError
from onnxrich.model.graph import Graph
from onnxrich.model.head.search import DeadEnd

# Characters of a message, at most. The path of the model may come before them.
MAX_MESSAGE = 285
# Characters of a reason, at most, and reasons that a message gives.
MAX_REASON, MOST_REASONS = 110, 2
# Linear layers of which a message lists the last.
MOST_LAYERS = 8
# Operators whose outputs are features, with which an encoder may end.
OF_FEATURES = {
    "EmbedLayerNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
    "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
}  # fmt: skip
TREES = {"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"}


def fit(texts: Sequence[str], room: int, lister: str) -> str:
    """Join texts as far as there is room, and say how many are left out.

    Args:
        texts: the texts.
        room: number of characters.
        lister: the command that lists all of them.
    """
    for count in range(len(texts), 0, -1):
        left_out = f"; {len(texts) - count} more: `{lister} MODEL`" if count < len(texts) else ""
        joined = "; ".join(texts[:count]) + left_out
        if len(joined) <= room:
            return joined
    return f"`{lister} MODEL` lists all {len(texts)}"[:room]


def listing_error(found: str, needed: str, remedy: str, labels: Sequence[str], short: Sequence[str] = ()) -> HeadError:
    """Build an error that lists candidates behind its remedy, numbered from 1, as many as fit.

    Args:
        found: what was found.
        needed: what was needed instead.
        remedy: what to do next.
        labels: the candidates.
        short: shorter labels of them, for when these do not all fit.
    """
    if not labels:
        return HeadError(found, needed, remedy)
    room = MAX_MESSAGE - len(str(HeadError(found, needed, remedy))) - 1
    for texts in filter(None, (labels, short)):
        numbered = [f"({number}) {label}" for number, label in enumerate(texts, 1)]
        listed = fit(numbered, room, "onnxrich inspect")
        if listed == "; ".join(numbered):
            break
    return HeadError(found, needed, f"{remedy} {listed}")


def explain_no_head(graph: Graph, dead_ends_of: Mapping[str, Sequence[DeadEnd]]) -> HeadError:
    """Build the error for a model without a head: why, and which tensors can be chosen.

    Args:
        graph: the graph of the model.
        dead_ends_of: where the search from each tensor stopped.
    """
    dead_ends = [end for ends in dead_ends_of.values() for end in ends]
    first = graph.producer(dead_ends[0].tensor) if dead_ends else None
    if first is not None and first.op_type in TREES:
        return HeadError(
            f"No head was found: {first.op_type} is an ensemble of trees, which has no penultimate layer",
            "a network with a last linear layer",
            "Trees have no features to measure.",
        )
    if any(graph.is_inner(end.tensor) for end in dead_ends):
        return _explain_branches(graph, dead_ends)
    encoded = next((name for name, ends in dead_ends_of.items() if _gives_features(graph, ends)), None)
    if encoded is not None:
        return HeadError(
            f"No head was found: {encoded!r} comes from a normalisation: the model gives features, as encoders do",
            "a last linear layer",
            f"To measure these features alone, pass --features {encoded!r} --outputs {encoded!r}.",
        )
    reasons = [shorten(f"at {end.tensor!r}, {end.reason}", MAX_REASON) for end in dead_ends][:MOST_REASONS]
    if sum(map(len, reasons)) > MAX_REASON:
        reasons = reasons[:1]
    return listing_error(
        "No head was found: " + ("; ".join(reasons) or "the outputs come from different linear layers"),
        "a last linear layer",
        "Pass --features NAME and --outputs NAME to choose the tensors yourself."
        + (" Layers:" if _linear_layers(graph) else ""),
        [_label(node) for node in _linear_layers(graph)],
    )


def _gives_features(graph: Graph, dead_ends: Sequence[DeadEnd]) -> bool:
    """Whether the search from a tensor stopped at normalisations, and at inputs such as masks, alone."""
    nodes = [graph.producer(end.tensor) for end in dead_ends if end.tensor not in graph.inputs]
    return bool(nodes) and all(node is not None and node.op_type in OF_FEATURES for node in nodes)


def shorten(text: str, room: int) -> str:
    """Cut a text in its middle."""
    if len(text) <= room:
        return text
    half = (room - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _explain_branches(graph: Graph, dead_ends: Sequence[DeadEnd]) -> HeadError:
    """Build the error for a head inside an If, whose tensors no patch can read and no name can choose."""
    conditions = [node.input[0] for node in graph.model.proto.graph.node if node.op_type == "If"]
    condition = next((name for name in conditions if name in graph.inputs), conditions[0])
    where = f"If, which {condition!r} decides"
    return HeadError(
        f"No head was found: the last linear layer lies inside the branches of an {shorten(where, MAX_REASON)}",
        "a last linear layer outside",
        "Export each branch as a model of its own (optimum: --no-post-process), or make the condition a constant of "
        "the file.",
    )


def _linear_layers(graph: Graph) -> list[NodeProto]:
    layers = (node for node in graph.model.proto.graph.node if node.op_type in ("Gemm", "MatMul", "Conv"))
    # A damaged node may lack inputs or outputs.
    return [node for node in layers if node.input and node.output][-MOST_LAYERS:][::-1]


def _label(node: NodeProto) -> str:
    return f"{node.op_type}: --features {node.input[0]!r} --outputs {node.output[0]!r}"
