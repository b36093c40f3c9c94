"""Heads that are easily misread: what is measured is the last linear layer of the model's output, or nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
from graphs import Array, Graph, Tensor
from onnx import TensorProto
from pipelines._verdict import assert_right, is_one_of, says_one_of

import onnxrich
from onnxrich import Analysis
from onnxrich.errors import OnnxrichError

ROWS, P, C = 170, 16, 5


def hidden() -> tuple[Graph, Tensor]:
    """A graph with a hidden layer of 16 features."""
    g = Graph(3)
    return g, g.hidden(g.input("x", g.rows(ROWS, 10), ["N", 10]), P, name="features")


def chosen(g: Graph, features: Tensor, outputs: str) -> Analysis:
    """The analysis of two tensors by their names."""
    return onnxrich.run(g.model(), g.data, device="cpu", features=features.name, outputs=outputs)


def assert_chosen(g: Graph, features: Tensor, outputs: Tensor, *, verified: bool) -> None:
    """The two tensors that were named are measured, and verified where one is affine in the other."""
    analysis = chosen(g, features, "y")
    assert is_one_of(analysis.metrics["d_lr"], (oracle.d_lr(features.value, outputs.value),)), analysis.metrics["d_lr"]
    assert analysis.record.head.outputs == "y"
    assert analysis.record.head.features == features.name
    assert analysis.record.head.verified is verified


def finished(g: Graph, y: Tensor) -> Graph:
    """The graph with its output."""
    g.output(y, "y")
    return g


# Outputs with several paths from the features


def test_correction_of_coarse_outputs() -> None:
    """y = z + g(z) with a hidden layer in g is no linear layer's output: refused, or the last features with y."""
    g, h = hidden()
    z = g.linear(h, C)
    late = g.hidden(z, 8, name="late")
    y = g.apply("Add", z, g.linear(late, C))
    assert_right(finished(g, y), (late.value, y.value), certain=False)
    assert_chosen(g, late, y, verified=False)


def test_several_corrections() -> None:
    """The same with two corrections that are summed at once."""
    g, h = hidden()
    z = g.linear(h, C)
    first, second = g.hidden(z, 8), g.hidden(z, 6)
    y = g.apply("Sum", z, g.linear(first, C), g.linear(second, C))
    joint = np.hstack([first.value, second.value])
    assert_right(finished(g, y), (joint, y.value), certain=False)


def test_correction_from_features() -> None:
    """y = W h + V g(h) is linear in both layers together; each alone is wrong."""
    g, h = hidden()
    late = g.hidden(h, 8)
    y = g.apply("Add", g.linear(h, C), g.linear(late, C))
    assert_right(finished(g, y), (np.hstack([h.value, late.value]), y.value), certain=False)


def test_skip_from_the_input() -> None:
    """y = W h + V x is linear in features and inputs together; the head of h alone is wrong."""
    g, h = hidden()
    x = Tensor("x", g.data["x"].astype(float))
    y = g.apply("Add", g.linear(h, C), g.linear(x, C))
    assert_right(finished(g, y), (np.hstack([h.value, x.value]), y.value), certain=False)


@pytest.mark.parametrize("operator", ["Mean", "Sum", "Add"])
def test_ensembles(operator: str) -> None:
    """Two networks whose outputs are averaged or summed: linear in both layers together."""
    g, h = hidden()
    other = g.hidden(Tensor("x", g.data["x"].astype(float)), 12)
    y = g.apply(operator, g.linear(h, C), g.linear(other, C))
    assert_right(finished(g, y), (np.hstack([h.value, other.value]), y.value), certain=False)


def test_gate_from_the_outputs() -> None:
    """y = z · σ(g(z)) with a hidden layer in g: neither head is the model's."""
    g, h = hidden()
    z = g.linear(h, C)
    gate = g.apply("Sigmoid", g.linear(g.hidden(z, 8), C))
    assert_right(finished(g, g.apply("Mul", z, gate)), certain=False)


def test_gate_on_the_same_features() -> None:
    """y = (W h) · σ(V h): both linear layers have one φ, so they are one head, or none is taken."""
    g, h = hidden()
    z, gate = g.linear(h, C), g.linear(h, C)
    y = g.apply("Mul", z, g.apply("Sigmoid", gate))
    assert_right(finished(g, y), (h.value, np.hstack([z.value, gate.value])), certain=False)


def test_experts_on_the_same_features() -> None:
    """Experts mixed by a softmax of the same features: one head of all linear layers, or none."""
    g, h = hidden()
    logits = g.linear(h, 3)
    gate = g.apply("Softmax", logits, axis=1)
    experts = [g.linear(h, C) for _ in range(3)]
    parts = [
        g.apply("Mul", expert, g.apply("Slice", gate, np.array([k]), np.array([k + 1]), np.array([1])))
        for k, expert in enumerate(experts)
    ]
    joint = np.hstack([logits.value, *(expert.value for expert in experts)])
    assert_right(finished(g, g.apply("Sum", *parts)), (h.value, joint), certain=False)


def test_coarse_outputs_among_the_features() -> None:
    """A fine head that reads the coarse outputs too: the fine head, the coarse one, or both are listed."""
    g, h = hidden()
    coarse = g.linear(h, 3)
    both = g.apply("Concat", h, coarse, axis=1)
    fine = g.linear(both, 6)
    g.output(coarse, "coarse")
    g.output(fine, "fine")
    result = assert_right(g, (both.value, fine.value), certain=False)
    if isinstance(result, Analysis):
        assert any("coarse" in notice.message for notice in result.notices)


# Several linear layers on the same features


Linear = Callable[[Graph, Tensor, int], Tensor]


def by_gemm(g: Graph, x: Tensor, width: int) -> Tensor:
    return g.apply("Gemm", x, g.weight(width, x.width), g.weight(width), transB=1)


def by_matmul(g: Graph, x: Tensor, width: int) -> Tensor:
    return g.linear(x, width)


def by_einsum(g: Graph, x: Tensor, width: int) -> Tensor:
    return g.apply("Add", g.apply("Einsum", x, g.weight(x.width, width), equation="bi,ij->bj"), g.weight(width))


LINEAR = pytest.mark.parametrize("linear", [by_gemm, by_matmul, by_einsum])


@LINEAR
def test_dueling(linear: Linear) -> None:
    """V + A − mean A is linear in the features, so its head is both layers together."""
    g, h = hidden()
    value, advantage = linear(g, h, 1), linear(g, h, 4)
    y = g.apply("Add", value, g.apply("Sub", advantage, g.reduce("ReduceMean", advantage, 1)))
    assert_right(finished(g, y), (h.value, y.value), rows=ROWS)
    assert_chosen(g, h, y, verified=True)


def test_dueling_in_another_order() -> None:
    """(A + V) − mean A is the same."""
    g, h = hidden()
    value, advantage = by_gemm(g, h, 1), by_gemm(g, h, 4)
    y = g.apply("Sub", g.apply("Add", advantage, value), g.reduce("ReduceMean", advantage, 1))
    assert_right(finished(g, y), (h.value, y.value))


def test_dueling_from_one_layer() -> None:
    """V and A as two parts of one layer's outputs: that layer, or what is made of its parts."""
    g, h = hidden()
    all_ = by_gemm(g, h, 5)
    value, advantage = g.apply_all("Split", all_, np.array([1, 4]), names=("", ""), axis=1)
    y = g.apply("Add", value, g.apply("Sub", advantage, g.reduce("ReduceMean", advantage, 1)))
    assert_right(finished(g, y), (h.value, y.value), (h.value, all_.value))


def test_dueling_with_the_maximum() -> None:
    """V + A − max A is not linear in the features: the two layers together, or none."""
    g, h = hidden()
    value, advantage = by_gemm(g, h, 1), by_gemm(g, h, 4)
    y = g.apply("Add", value, g.apply("Sub", advantage, g.reduce("ReduceMax", advantage, 1)))
    assert_right(finished(g, y), (h.value, np.hstack([value.value, advantage.value])), certain=False)


@LINEAR
def test_concatenated_heads(linear: Linear) -> None:
    """Two layers on the same features, side by side in one output, are one head."""
    g, h = hidden()
    y = g.apply("Concat", linear(g, h, 2), linear(g, h, 3), axis=1)
    assert_right(finished(g, y), (h.value, y.value), rows=ROWS)


def test_stacked_heads() -> None:
    """The same, stacked in an axis of its own."""
    g, h = hidden()
    parts = [g.apply("Unsqueeze", g.linear(h, 3), np.array([1])) for _ in range(2)]
    y = g.apply("Concat", *parts, axis=1)
    together = y.value.reshape(ROWS, -1)
    assert_right(finished(g, y), (h.value, together), certain=False)


@LINEAR
@pytest.mark.parametrize("scaled", [True, False])
def test_adapter_beside_a_head(linear: Linear, scaled: bool) -> None:
    """A low-rank adapter that was not merged: W φ + b + s B A φ."""
    g, h = hidden()
    low = g.apply("MatMul", g.apply("MatMul", h, g.weight(P, 2)), g.weight(2, C))
    low = g.apply("Mul", low, np.float32(2)) if scaled else low
    y = g.apply("Add", linear(g, h, C), low)
    assert_right(finished(g, y), (h.value, y.value), rows=ROWS)
    assert_chosen(g, h, y, verified=True)


def test_two_adapters() -> None:
    """Two adapters, one of them before the layer itself."""
    g, h = hidden()
    first, second = (g.apply("MatMul", g.apply("MatMul", h, g.weight(P, 2)), g.weight(2, C)) for _ in range(2))
    y = g.apply("Add", g.apply("Add", first, g.linear(h, C)), g.apply("Mul", np.float32(0.5), second))
    assert_right(finished(g, y), (h.value, y.value))


def test_adapter_with_scaled_features() -> None:
    """Features scaled by learned constants before the layer: the layer's own features are the scaled ones, or φ."""
    g, h = hidden()
    scaled = g.apply("Mul", h, np.linspace(0.5, 2, P))
    y = g.linear(scaled, C)
    assert_right(finished(g, y), (scaled.value, y.value), (h.value, y.value))


# Affine layers behind the head


def normalized(g: Graph, x: Tensor) -> Tensor:
    """Batch normalisation in inference mode."""
    width = x.value.shape[1]
    constants = [np.linspace(0.5, 2, width), g.weight(width), g.weight(width), np.linspace(0.3, 2, width)]
    return g.apply("BatchNormalization", x, *constants)


def written_normalization(g: Graph, x: Tensor) -> Tensor:
    """(x − μ)/σ · γ + β, as exporters write it that have no such operator."""
    centred = g.apply("Mul", g.apply("Sub", x, g.weight(C)), np.linspace(0.5, 2, C))
    return g.apply("Add", g.apply("Mul", centred, np.linspace(2, 1, C)), g.weight(C))


def normalization_of_columns(g: Graph, x: Tensor) -> Tensor:
    """With an axis of size one behind the channels, as tf2onnx writes it."""
    wide = normalized(g, g.apply("Unsqueeze", x, np.array([2])))
    return g.apply("Squeeze", wide, np.array([2]))


def units(g: Graph, x: Tensor) -> Tensor:
    """Back to the units of the targets."""
    return g.apply("Add", g.apply("Mul", x, np.linspace(0.2, 3, C)), g.weight(C))


def divided(g: Graph, x: Tensor) -> Tensor:
    """The same by a division and a difference."""
    return g.apply("Sub", g.apply("Div", x, np.linspace(0.2, 3, C)), g.weight(C))


def rotated(g: Graph, x: Tensor) -> Tensor:
    """Another linear layer right behind: the two are one."""
    return g.linear(x, C)


@pytest.mark.parametrize("tail", [normalized, written_normalization, normalization_of_columns, units, divided])
@LINEAR
def test_affine_layers_behind_the_head(linear: Linear, tail: Callable[[Graph, Tensor], Tensor]) -> None:
    """What is affine behind the head is part of it."""
    g, h = hidden()
    y = tail(g, linear(g, h, C))
    assert_right(finished(g, y), (h.value, y.value), rows=ROWS)
    assert_chosen(g, h, y, verified=True)


def test_normalization_behind_a_convolution() -> None:
    """The same for maps."""
    g = Graph(4)
    x = g.input("x", g.rows(60, 3, 4, 4), ["N", 3, 4, 4])
    h = g.apply("Relu", g.apply("Conv", x, g.weight(P, 3, 3, 3, scale=2), pads=[1, 1, 1, 1]))
    y = normalized(g, g.apply("Conv", h, g.weight(C, P, 1, 1)))
    assert_right(finished(g, y), tuple(np.moveaxis(a.value, 1, -1).reshape(-1, a.value.shape[1]) for a in (h, y)))


def test_two_linear_layers_in_a_row() -> None:
    """Without an activation between them, the last layer with its own input or the two as one are right."""
    g, h = hidden()
    low = g.linear(h, 4)
    y = g.linear(low, C)
    assert_right(finished(g, y), (low.value, y.value), (h.value, y.value), certain=False)


# Tails that hide the head


def expectation_by_matmul(g: Graph, z: Tensor) -> Tensor:
    return g.apply("MatMul", g.apply("Softmax", z, axis=-1), np.arange(20.0)[:, None])


def expectation_by_gemm(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Gemm", g.apply("Softmax", z, axis=-1), np.arange(20.0)[None], transB=1)


def expectation_by_sum(g: Graph, z: Tensor) -> Tensor:
    return g.reduce("ReduceSum", g.apply("Mul", g.apply("Softmax", z, axis=-1), np.arange(20.0)), 1)


def expectation_by_einsum(g: Graph, z: Tensor) -> Tensor:
    product = g.apply("Einsum", g.apply("Softmax", z, axis=-1), np.arange(20.0), equation="bi,i->b")
    return g.apply("Unsqueeze", product, np.array([1]))


def expectation_by_log_softmax(g: Graph, z: Tensor) -> Tensor:
    return g.apply("MatMul", g.apply("Exp", g.apply("LogSoftmax", z, axis=-1)), np.arange(20.0)[:, None])


def expectation_of_written_softmax(g: Graph, z: Tensor) -> Tensor:
    e = g.apply("Exp", g.apply("Sub", z, g.reduce("ReduceMax", z, 1)))
    return g.apply("MatMul", g.apply("Div", e, g.reduce("ReduceSum", e, 1)), np.arange(20.0)[:, None])


def expectation_in_years(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Add", g.apply("Mul", expectation_by_matmul(g, z), np.float32(5)), np.float32(18))


def expectations_of_groups(g: Graph, z: Tensor) -> Tensor:
    """Four distributions of five bins each, as detectors have them for the sides of a box."""
    groups = g.apply("Softmax", g.apply("Reshape", z, np.array([-1, 4, 5])), axis=2)
    return g.reduce("ReduceSum", g.apply("Mul", groups, np.arange(5.0)), 2, keepdims=0)


def expectations_by_convolution(g: Graph, z: Tensor) -> Tensor:
    """The same by a convolution over the bins."""
    groups = g.apply("Transpose", g.apply("Reshape", z, np.array([-1, 4, 5])), perm=[0, 2, 1])
    return g.apply("Conv", g.apply("Softmax", groups, axis=1), np.arange(5.0).reshape(1, 5, 1))


@pytest.mark.parametrize(
    "tail",
    [
        expectation_by_matmul,
        expectation_by_gemm,
        expectation_by_sum,
        expectation_by_einsum,
        expectation_by_log_softmax,
        expectation_of_written_softmax,
        expectation_in_years,
    ],
)
def test_expectation_behind_a_softmax(tail: Callable[[Graph, Tensor], Tensor]) -> None:
    """A fixed expectation belongs to the tail: the head is the linear layer before the softmax."""
    g, h = hidden()
    z = g.apply("Gemm", h, g.weight(P, 20, scale=4), g.weight(20))
    assert_right(finished(g, tail(g, z)), (h.value, z.value), rows=ROWS)


@pytest.mark.parametrize("tail", [expectations_of_groups, expectations_by_convolution])
def test_expectations_of_several_distributions(tail: Callable[[Graph, Tensor], Tensor]) -> None:
    """The same where the outputs are cut into several distributions."""
    g, h = hidden()
    z = g.apply("Gemm", h, g.weight(P, 20, scale=4), g.weight(20))
    assert_right(finished(g, tail(g, z)), (h.value, z.value), certain=False)


def test_legal_actions() -> None:
    """Outputs that another input sets aside: the logits before that, or a refusal."""
    g, h = hidden()
    z = g.linear(h, C)
    legal = g.input("legal", g.rng.random((ROWS, C)) < 0.7, ["N", C])
    y = g.apply("Where", legal, z, np.float32(-1e9))
    assert_right(finished(g, y), (h.value, z.value), certain=False)


@pytest.mark.parametrize("gate", ["Mul", "Add"])
def test_another_input_behind_the_head(gate: str) -> None:
    """Outputs that another input scales or shifts are no function of the head alone."""
    g, h = hidden()
    z = g.linear(h, C)
    y = g.apply(gate, z, g.input("context", g.rows(ROWS, C), ["N", C]))
    result = assert_right(finished(g, y), told=("context",), certain=False)
    assert isinstance(result, OnnxrichError | Analysis)


@pytest.mark.parametrize("power", [2.0, 1.0])
def test_distances_to_prototypes(power: float) -> None:
    """Summed powers of differences are neither a linear layer nor an activation."""
    g, h = hidden()
    z = g.linear(h, C)
    points = g.rng.standard_normal((3, C)).astype(np.float32)
    differences = g.apply("Sub", g.apply("Unsqueeze", z, np.array([1])), points)
    powers = g.apply("Pow", differences, np.float32(2)) if power == 2 else g.apply("Abs", differences)
    assert_right(finished(g, g.apply("Neg", g.reduce("ReduceSum", powers, 2, keepdims=0))), certain=False)


def test_distances_on_the_features() -> None:
    """The same on the features, where the squares make them linear in nothing."""
    g, h = hidden()
    points = g.rng.standard_normal((3, P)).astype(np.float32)
    differences = g.apply("Sub", g.apply("Unsqueeze", h, np.array([1])), points)
    y = g.reduce("ReduceSum", g.apply("Mul", differences, differences), 2, keepdims=0)
    assert_right(finished(g, y), certain=False)


def contraction_by_sum(g: Graph, x: Tensor, weight: Array) -> Tensor:
    return g.reduce("ReduceSum", g.apply("Mul", g.apply("Unsqueeze", x, np.array([1])), weight.T), 2, keepdims=0)


def contraction_by_einsum(g: Graph, x: Tensor, weight: Array) -> Tensor:
    return g.apply("Einsum", weight.T, x, equation="ji,bi->bj")


def contraction_from_the_left(g: Graph, x: Tensor, weight: Array) -> Tensor:
    left = g.apply("MatMul", weight.T, g.apply("Transpose", x, perm=[1, 0]))
    return g.apply("Transpose", left, perm=[1, 0])


def contraction_of_columns(g: Graph, x: Tensor, weight: Array) -> Tensor:
    column = g.apply("MatMul", weight.T, g.apply("Unsqueeze", x, np.array([2])))
    return g.apply("Squeeze", column, np.array([2]))


@pytest.mark.parametrize(
    "contraction", [contraction_by_sum, contraction_by_einsum, contraction_from_the_left, contraction_of_columns]
)
def test_linear_layers_in_disguise(contraction: Callable[[Graph, Tensor, Array], Tensor]) -> None:
    """A sum over the features with constant weights is a linear layer, or unknown; never an activation."""
    g, h = hidden()
    y = contraction(g, h, g.weight(P, C))
    assert_right(finished(g, y), (h.value, y.value), certain=False)


@pytest.mark.parametrize("operator", ["Gather", "GatherElements", "GatherND"])
def test_choosing_a_token(operator: str) -> None:
    """Each sample's own token is chosen, by whatever operator: rows are samples."""
    g = Graph(5)
    x = g.input("x", g.rows(ROWS, 6, 4), ["N", 6, 4])
    tokens = g.hidden(x, P)
    if operator == "Gather":
        chosen_tokens = g.apply("Gather", tokens, np.array(2), axis=1)
    else:
        place = g.rng.integers(0, 6, (ROWS, 1))
        index = g.input("place", place, ["N", 1])
        values = tokens.value[np.arange(ROWS), place[:, 0]]
        chosen_tokens = gathered(g, operator, tokens, index, values)
    y = g.linear(chosen_tokens, C)
    assert_right(finished(g, y), (chosen_tokens.value, y.value), certain=operator != "GatherND", rows=ROWS)


def gathered(g: Graph, operator: str, tokens: Tensor, index: Tensor, values: Array) -> Tensor:
    """Tokens by an index of (samples, 1)."""
    if operator == "GatherND":
        flat = g.apply("GatherND", tokens, index, batch_dims=1)
        return Tensor(flat.name, values)
    wide = g.apply("Expand", g.apply("Unsqueeze", index, np.array([2])), np.array([1, 1, P]))
    picked = g.apply("GatherElements", tokens, wide, axis=1)
    return g.apply("Squeeze", picked, np.array([1]))


def test_choosing_tokens_behind_the_head() -> None:
    """GatherElements behind the head chooses rows of its outputs, as Gather does."""
    g = Graph(5)
    tokens = g.hidden(g.input("x", g.rows(ROWS, 6, 4), ["N", 6, 4]), P)
    z = g.linear(tokens, C)
    place = g.rng.integers(0, 6, (ROWS, 1))
    index = g.input("place", place, ["N", 1])
    wide = g.apply("Expand", g.apply("Unsqueeze", index, np.array([2])), np.array([1, 1, C]))
    y = g.apply("Squeeze", g.apply("GatherElements", z, wide, axis=1), np.array([1]))
    at = np.arange(ROWS), place[:, 0]
    everything = (tokens.value.reshape(-1, P), z.value.reshape(-1, C))
    assert_right(finished(g, y), (tokens.value[at], z.value[at]), everything, certain=False)


# Heads as they should be


def test_cosine_head() -> None:
    """Normalised features and weights with a scale behind: the features are the normalised ones."""
    g, h = hidden()
    length = g.apply("Clip", g.reduce("ReduceL2", h, 1), np.float32(1e-12))
    unit = g.apply("Div", h, length)
    y = g.apply("Mul", g.apply("MatMul", unit, g.weight(P, C)), np.float32(30))
    assert_right(finished(g, y), (unit.value, y.value))


def test_shared_weights_of_ordered_classes() -> None:
    """One direction with a bias for each threshold."""
    g, h = hidden()
    y = g.apply("Add", g.apply("MatMul", h, g.weight(P, 1)), np.array([1, 0.3, -0.4, -1]))
    one = y.value[:, :1]
    assert_right(finished(g, g.apply("Sigmoid", y)), (h.value, y.value), (h.value, one))


def test_temperature_and_exponential() -> None:
    """exp(log softmax(z / T)) follows a head."""
    g, h = hidden()
    z = g.linear(h, C)
    y = g.apply("Exp", g.apply("LogSoftmax", g.apply("Div", z, np.float32(1.7)), axis=1))
    assert_right(finished(g, y), (h.value, z.value))


def test_layer_normalization_behind_the_head() -> None:
    """It is a function of the outputs before it, and affine in nothing."""
    g, h = hidden()
    z = g.linear(h, C)
    y = g.apply("LayerNormalization", z, np.ones(C), np.zeros(C), axis=-1)
    assert_right(finished(g, y), (h.value, z.value), certain=False)


def test_embedding_with_an_activation() -> None:
    """A model that ends in the activation of its last linear layer may be measured, with a warning that says so."""
    g, h = hidden()
    z = g.linear(h, C)
    result = assert_right(finished(g, g.apply("Relu", z)), (h.value, z.value), certain=False)
    if isinstance(result, Analysis):
        assert says_one_of(result, ("activation", "embedding"))


# Softmax and log-sum-exp written out, as JAX does


def lifted_maximum(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Max", g.reduce("ReduceMax", z, 1), np.float32(-np.inf))


def chosen_maximum(g: Graph, z: Tensor) -> Tensor:
    top = g.reduce("ReduceMax", z, 1)
    is_finite = g.apply("Not", g.apply("Equal", g.apply("Abs", top), np.float32(np.inf)))
    return g.apply("Where", is_finite, top, np.float32(0))


def plain_maximum(g: Graph, z: Tensor) -> Tensor:
    return g.reduce("ReduceMax", z, 1)


@pytest.mark.parametrize("maximum", [plain_maximum, lifted_maximum, chosen_maximum])
@pytest.mark.parametrize("form", ["softmax", "log_softmax", "log_sum_exp"])
def test_written_softmax(maximum: Callable[[Graph, Tensor], Tensor], form: str) -> None:
    """One head, whatever guards its maximum."""
    g, h = hidden()
    z = g.linear(h, C)
    top = maximum(g, z)
    shifted = g.apply("Sub", z, top)
    total = g.reduce("ReduceSum", g.apply("Exp", shifted), 1)
    y = {
        "softmax": lambda: g.apply("Div", g.apply("Exp", shifted), total),
        "log_softmax": lambda: g.apply("Sub", shifted, g.apply("Log", total)),
        "log_sum_exp": lambda: g.apply("Sub", z, g.apply("Add", top, g.apply("Log", total))),
    }[form]()
    assert_right(finished(g, y), (h.value, z.value), rows=ROWS)


@pytest.mark.parametrize("form", ["Max", "Where", "Add", "Mul", "Expand"])
def test_operands_made_from_shapes(form: str) -> None:
    """What is made from shapes alone is a constant."""
    g, h = hidden()
    z = g.linear(h, C)
    zeros = g.apply("ConstantOfShape", g.apply("Shape", z))
    if form == "Where":
        y = g.apply("Where", g.apply("Greater", z, zeros), z, zeros)
    elif form == "Mul":
        y = g.apply("Mul", z, g.apply("Exp", zeros))
    elif form == "Expand":
        y = g.apply("Max", z, g.apply("Expand", np.float32(-1), g.apply("Shape", z)))
    else:
        y = g.apply(form, z, zeros)
    assert_right(finished(g, y), (h.value, z.value), rows=ROWS)


def test_output_without_a_head() -> None:
    """Beside the head of one output, a notice names the output that has none."""
    g, h = hidden()
    z = g.linear(h, C)
    g.output(z, "logits")
    g.output(g.apply("CumSum", g.linear(h, 3), np.array(1)), "boxes")
    result = assert_right(g, (h.value, z.value), certain=False)
    if isinstance(result, Analysis):
        assert any("boxes" in notice.message for notice in result.notices)
    else:
        assert "boxes" in str(result)


@pytest.mark.parametrize("kind", ["pooling", "norm", "reduced"])
def test_other_outputs_without_a_head(kind: str) -> None:
    """The same for outputs of other kinds: features themselves, their lengths, decisions of nothing linear."""
    g, h = hidden()
    z = g.linear(h, C)
    other = {
        "pooling": lambda: h,
        "norm": lambda: g.reduce("ReduceL2", h, 1),
        "reduced": lambda: g.apply("ArgMax", h, axis=1),
    }[kind]()
    g.output(z, "logits")
    g.output(other, "embedding")
    result = assert_right(g, (h.value, z.value))
    assert isinstance(result, Analysis)
    assert any("embedding" in notice.message for notice in result.notices)


# Names are obeyed


@pytest.mark.parametrize("between", ["Relu", "Softmax", "Tanh"])
def test_names_with_something_between(between: str) -> None:
    """Two names measure those two tensors, though the model's head is another; unverified where it is not affine."""
    g, h = hidden()
    y = g.apply(between, g.linear(h, C))
    assert_chosen(finished(g, y), h, y, verified=False)


def test_names_of_an_earlier_layer() -> None:
    """Names may skip layers."""
    g, h = hidden()
    late = g.hidden(h, 8)
    y = g.linear(late, C)
    assert_chosen(finished(g, y), h, y, verified=False)


def test_names_of_one_affine_path() -> None:
    """Two affine layers between the names: verified."""
    g, h = hidden()
    y = g.linear(g.linear(h, 7), C)
    assert_chosen(finished(g, y), h, y, verified=True)


# Branches


def branch(name: str, features: str, weights: dict[str, Array]) -> Any:
    """A branch of an If that applies a linear layer to a tensor from outside."""
    from onnx import helper, numpy_helper

    result = f"{name}_y"
    node = helper.make_node("Gemm", [features, f"{name}_w", f"{name}_b"], [result])
    tensors = [numpy_helper.from_array(value.astype(np.float32), f"{name}_{key}") for key, value in weights.items()]
    shape = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
    return helper.make_graph([node], name, [], [shape], tensors)


@pytest.mark.parametrize("condition", ["input", "constant"])
@pytest.mark.parametrize("alike", [True, False])
def test_branches(condition: str, alike: bool) -> None:
    """The same head in both branches, or the branch that a constant condition decides; never the other one."""
    g, h = hidden()
    first = {"w": g.weight(P, C), "b": g.weight(C)}
    second = first if alike else {"w": g.weight(P, C), "b": g.weight(C)}
    taken = {"input": lambda: g.input("use_first", np.array([True]), [1]), "constant": lambda: g.constant([True])}
    flag = taken[condition]()
    y = g.apply("If", flag, then_branch=branch("then", h.name, first), else_branch=branch("else", h.name, second))
    value = h.value @ first["w"] + first["b"]
    g.output(Tensor(y.name, value), "y", ["N", C])
    assert_right(g, (h.value, value), certain=False)
