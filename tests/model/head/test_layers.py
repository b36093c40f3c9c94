"""Layers are the affine operators before the head, each with what is fused into it."""

from __future__ import annotations

import pytest
from model._heads import HIDDEN, build

from onnxrich.errors import HeadError
from onnxrich.model.graph import Graph
from onnxrich.model.head.head import Head, find_head
from onnxrich.model.head.layers import LayerTensor, chosen_tensors, equals_features, layer_tensors, thin_layers


def graph_and_head(body: str) -> tuple[Graph, Head]:
    """The graph of a model, and its head."""
    model = build(body)
    head = find_head(model)
    assert isinstance(head, Head)
    return Graph(model), head


def test_activations_and_sums_belong_to_layers() -> None:
    """The tensor of a layer lies behind its activation; where a layer is only added to another, it is the sum."""
    graph, head = graph_and_head(HIDDEN + "q = MatMul(x, w1)\n s = Add(r, q)\n y = Gemm(s, w2, b2)")
    assert layer_tensors(graph, head) == [LayerTensor("s", "Add", "", -1, ("r", "q"))]
    graph, head = graph_and_head(HIDDEN + "y = Gemm(r, w2, b2)")
    assert layer_tensors(graph, head) == [LayerTensor("r", "MatMul+Relu", "", -1)]
    assert equals_features(graph, head, LayerTensor("r", "MatMul+Relu"))
    assert not equals_features(graph, head, LayerTensor("h", "MatMul"))


def test_chosen_names() -> None:
    """Any computed tensor can be chosen, in the order of the graph; no constant and no other name."""
    graph, head = graph_and_head(HIDDEN + "y = Gemm(r, w2, b2)")
    assert [layer.tensor for layer in chosen_tensors(graph, head, ["y", "r", "h", "x"])] == ["x", "h", "r", "y"]
    for name in ("w2", "rr"):
        with pytest.raises(HeadError, match=f"The model has no layer '{name}'; needed: `all`, or names of"):
            chosen_tensors(graph, head, [name])


@pytest.mark.parametrize(("count", "most"), [(3, 4), (4, 4), (9, 4), (100, 64)])
def test_thinned_layers(count: int, most: int) -> None:
    """At most so many layers are left, in order, from the first to the last."""
    layers = thin_layers(range(count), most)
    assert len(layers) == min(count, most)
    assert layers == sorted(set(layers))
    assert (layers[0], layers[-1]) == (0, count - 1)
