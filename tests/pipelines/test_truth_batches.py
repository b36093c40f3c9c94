"""Batches: outputs that depend on other samples or on chance, and samples along other axes than the first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graphs import Array, Graph, Tensor
from pipelines._verdict import BATCH, CHANCE, assert_right

from onnxrich import Analysis
from onnxrich.errors import OnnxrichError

ROWS, P, C = 170, 16, 5


def flat(tensor: Tensor, *order: int) -> Array:
    """Rows of a tensor whose last axis is its width, after its axes were put in some order."""
    turned = tensor.value.transpose(order) if order else tensor.value
    return turned.reshape(-1, turned.shape[-1])


def inputs(*shape: int | str) -> tuple[Graph, Tensor]:
    """A graph with an input of 170 samples."""
    g = Graph(11)
    return g, g.input("x", g.rows(ROWS, *(size for size in shape[1:] if isinstance(size, int))), shape)


# What depends on other samples


def normalization_in_training(g: Graph, z: Tensor) -> Tensor:
    width = z.width
    constants = [np.ones(width), np.zeros(width), np.zeros(width), np.ones(width)]
    return g.apply_all("BatchNormalization", z, *constants, names=("", "", ""), training_mode=1)[0]


def written_normalization(g: Graph, z: Tensor) -> Tensor:
    """Statistics of the batch from reductions, as exporters write them."""
    centred = g.apply("Sub", z, g.reduce("ReduceMean", z, 0))
    variance = g.reduce("ReduceMean", g.apply("Mul", centred, centred), 0)
    return g.apply("Div", centred, g.apply("Sqrt", g.apply("Add", variance, np.float32(1e-5))))


def attention(g: Graph, z: Tensor) -> Tensor:
    scores = g.apply("MatMul", z, g.apply("Transpose", z, perm=[1, 0]))
    return g.apply("MatMul", g.apply("Softmax", scores, axis=-1), z)


def attention_by_gemm(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Gemm", g.apply("Softmax", g.apply("Gemm", z, z, transB=1), axis=1), z)


def attention_with_a_first_axis(g: Graph, z: Tensor) -> Tensor:
    """Time-first attention that is fed batch-first rows: [1, N, p] attends over N."""
    wide = g.apply("Unsqueeze", z, np.array([0]))
    scores = g.apply("MatMul", wide, g.apply("Transpose", wide, perm=[0, 2, 1]))
    mixed = g.apply("MatMul", g.apply("Softmax", scores, axis=-1), wide)
    return g.apply("Squeeze", mixed, np.array([0]))


def softmax_over_samples(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Mul", z, g.apply("Softmax", z, axis=0))


def largest_of_the_batch(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Div", z, g.apply("ReduceMax", g.apply("Abs", z), axes=[0, 1], keepdims=1))


def neighbour(g: Graph, z: Tensor) -> Tensor:
    """The row before is added, as a shift along a wrong axis does."""
    first, rest = g.apply("Gather", z, np.array([0])), g.apply("Slice", z, np.array([0]), np.array([-1]), np.array([0]))
    return g.apply("Add", z, g.apply("Concat", first, rest, axis=0))


def cumulative(g: Graph, z: Tensor) -> Tensor:
    return g.apply("CumSum", z, np.array(0))


def mean_pooled_back(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Add", z, g.apply("Expand", g.reduce("ReduceMean", z, 0), g.apply("Shape", z)))


MIXING = [
    normalization_in_training,
    written_normalization,
    attention,
    attention_by_gemm,
    attention_with_a_first_axis,
    softmax_over_samples,
    largest_of_the_batch,
    neighbour,
    cumulative,
    mean_pooled_back,
]


@pytest.mark.parametrize("mix", MIXING)
@pytest.mark.parametrize("batch_size", [None, 4, ROWS])
def test_samples_that_depend_on_each_other(mix: Callable[[Graph, Tensor], Tensor], batch_size: int | None) -> None:
    """A result that the batch decides is refused, or a notice says so, whatever the size of a batch."""
    g, x = inputs("N", 10)
    h = g.apply("Relu", mix(g, g.linear(x, P)))
    g.output(g.linear(h, C), "y")
    options = {} if batch_size is None else {"batch_size": batch_size}
    assert_right(g, told=BATCH, certain=False, **options)


@pytest.mark.parametrize("mix", [attention, largest_of_the_batch, cumulative])
def test_features_alone_depend_on_the_batch(mix: Callable[[Graph, Tensor], Tensor]) -> None:
    """The same where it is the penultimate layer itself, behind its activation."""
    g, x = inputs("N", 10)
    h = mix(g, g.hidden(x, P))
    g.output(g.apply("Softmax", g.linear(h, C), axis=1), "y")
    assert_right(g, told=BATCH, certain=False)


def own_attention(g: Graph, x: Tensor) -> Tensor:
    scores = g.apply("MatMul", x, g.apply("Transpose", x, perm=[0, 2, 1]))
    return g.apply("MatMul", g.apply("Softmax", scores, axis=-1), x)


def own_mean(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Sub", x, g.reduce("ReduceMean", x, 1))


def own_sum(g: Graph, x: Tensor) -> Tensor:
    return g.apply("CumSum", x, np.array(1))


def own_normalization(g: Graph, x: Tensor) -> Tensor:
    centred = own_mean(g, x)
    return g.apply("Div", centred, g.apply("Add", g.reduce("ReduceL2", centred, 1), np.float32(1)))


@pytest.mark.parametrize("mix", [own_attention, own_mean, own_sum, own_normalization])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_tokens_of_a_sample_may_depend_on_each_other(
    mix: Callable[[Graph, Tensor], Tensor], batch_size: int | None
) -> None:
    """What mixes the tokens of one sample is no effect of the batch."""
    g, x = inputs("N", 6, 4)
    h = g.hidden(mix(g, x), P)
    y = g.linear(h, C)
    g.output(y, "y")
    options = {} if batch_size is None else {"batch_size": batch_size}
    assert_right(g, (flat(h), flat(y)), rows=ROWS * 6, **options)


# Chance


def noise(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Add", z, g.apply("RandomNormalLike", z))


def small_noise(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Add", z, g.apply("RandomNormalLike", z, scale=0.01))


def uniform_noise(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Mul", z, g.apply("RandomUniformLike", z))


def dropout(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Dropout", z, np.float32(0.5), np.bool_(True))


def written_dropout(g: Graph, z: Tensor) -> Tensor:
    """As some exporters write it: a uniform draw is compared with the rate."""
    keep = g.apply("Greater", g.apply("RandomUniformLike", z), np.float32(0.3))
    return g.apply("Where", keep, z, np.float32(0))


def bernoulli(g: Graph, z: Tensor) -> Tensor:
    return g.apply("Mul", z, g.apply("Bernoulli", g.apply("Sigmoid", z)))


def seeded_noise(g: Graph, z: Tensor) -> Tensor:
    """A seed makes sessions agree, not two runs of one."""
    return g.apply("Add", z, g.apply("RandomNormalLike", z, seed=1.0))


@pytest.mark.parametrize("draw", [noise, small_noise, uniform_noise, dropout, written_dropout, bernoulli, seeded_noise])
def test_chance(draw: Callable[[Graph, Tensor], Tensor]) -> None:
    """A result that chance decides is refused, or a notice says so."""
    g, x = inputs("N", 10)
    h = g.apply("Relu", draw(g, g.linear(x, P)))
    y = g.linear(h, C)
    g.output(y, "y")
    # The runtime on a CPU leaves Dropout out even where it is on.
    truths = [(h.value, y.value)] if draw is dropout else []
    assert_right(g, *truths, told=CHANCE, certain=False)


def test_chance_in_the_middle() -> None:
    """A variational autoencoder draws its code."""
    g, x = inputs("N", 10)
    code = g.linear(g.hidden(x, P), 6)
    h = g.hidden(noise(g, code), P)
    g.output(g.linear(h, 10), "y")
    assert_right(g, told=CHANCE, certain=False)


@pytest.mark.parametrize("training", [None, False])
def test_dropout_that_is_off(training: bool | None) -> None:
    """Dropout in evaluation does nothing."""
    g, x = inputs("N", 10)
    z = g.linear(x, P)
    extra = () if training is None else (np.float32(0.5), np.bool_(training))
    h = g.apply("Dropout", g.apply("Relu", z), *extra)
    y = g.linear(h, C)
    g.output(y, "y")
    assert_right(g, (h.value, y.value), rows=ROWS)


def test_chance_that_reaches_no_head() -> None:
    """Noise in another output leaves the head as it is."""
    g, x = inputs("N", 10)
    h = g.hidden(x, P)
    y = g.linear(h, C)
    g.output(y, "y")
    g.output(noise(g, h), "drawn")
    assert_right(g, (h.value, y.value))


# Batches that are melted into one row, or baked in


def one_sample_a_row(g: Graph, shape: list[int], x: Tensor) -> Tensor:
    """A Reshape that makes one row of a batch; its value is that of batches of one sample."""
    node = g.apply("Reshape", Tensor(x.name, x.value[:1]), np.array(shape))
    return Tensor(node.name, x.value.reshape(len(x.value), *node.value.shape[1:]))


def melted_and_averaged() -> tuple[Graph, Tensor, Tensor]:
    g, x = inputs("N", 7, 10)
    h = g.reduce("ReduceMean", g.hidden(one_sample_a_row(g, [1, -1, 10], x), P), 1, keepdims=0)
    return g, h, g.linear(h, C)


def melted_and_maximised() -> tuple[Graph, Tensor, Tensor]:
    g, x = inputs("N", 7, 10)
    h = g.reduce("ReduceMax", g.hidden(one_sample_a_row(g, [1, -1, 10], x), P), 1, keepdims=0)
    return g, h, g.linear(h, C)


def melted_by_a_sum() -> tuple[Graph, Tensor, Tensor]:
    """No Reshape at all: the batch itself is averaged."""
    g, x = inputs("N", 10)
    each = g.hidden(x, P)
    node = g.reduce("ReduceMean", Tensor(each.name, each.value[:1]), 0)
    h = Tensor(node.name, each.value)
    return g, h, g.linear(h, C)


def flattened_to_one_row() -> tuple[Graph, Tensor, Tensor]:
    """A Reshape to [1, 10] takes one sample alone."""
    g, x = inputs("N", 2, 5)
    h = g.hidden(one_sample_a_row(g, [1, 10], x), P)
    return g, h, g.linear(h, C)


def squeezed() -> tuple[Graph, Tensor, Tensor]:
    """A Squeeze of the batch takes one sample alone."""
    g, x = inputs("N", 10)
    each = g.hidden(x, P)
    node = g.apply("Squeeze", Tensor(each.name, each.value[:1]), np.array([0]))
    back = g.apply("Unsqueeze", node, np.array([0]))
    h = Tensor(back.name, each.value)
    return g, h, g.linear(h, C)


def tokens_of_one_sample() -> tuple[Graph, Tensor, Tensor]:
    """A Reshape to [1, 5, 16] of tokens takes one sample alone."""
    g, x = inputs("N", 5, 6)
    h = one_sample_a_row(g, [1, 5, P], g.hidden(x, P))
    return g, h, g.linear(h, C)


MELTED = [melted_and_averaged, melted_and_maximised, melted_by_a_sum]
SINGLE = [flattened_to_one_row, squeezed, tokens_of_one_sample]


@pytest.mark.parametrize("build", MELTED)
def test_batch_that_becomes_one_row(build: Callable[[], tuple[Graph, Tensor, Tensor]]) -> None:
    """Some hundred samples never become a few rows: each sample is its own batch, or the refusal says how."""
    g, h, y = build()
    g.output(y, "y", ["N", C])
    assert_right(g, (flat(h), flat(y)), rows=ROWS, certain=False, remedy="--batch-size 1")


@pytest.mark.parametrize("build", SINGLE)
def test_models_that_take_one_sample(build: Callable[[], tuple[Graph, Tensor, Tensor]]) -> None:
    """A batch that is declared free, of which only one works: tried with one, or the refusal says so."""
    g, h, y = build()
    g.output(y, "y", ["N", *y.value.shape[1:]])
    assert_right(g, (flat(h), flat(y)), rows=len(flat(h)), certain=False, remedy="--batch-size 1")


@pytest.mark.parametrize("build", [*MELTED, *SINGLE])
def test_one_sample_a_batch(build: Callable[[], tuple[Graph, Tensor, Tensor]]) -> None:
    """With --batch-size 1 all of these are measured."""
    g, h, y = build()
    g.output(y, "y", ["N", *y.value.shape[1:]])
    assert_right(g, (flat(h), flat(y)), rows=len(flat(h)), batch_size=1)


# Graphs, whose nodes are the samples


def adjacency(g: Graph) -> Array:
    """A random graph with loops, its rows of sum one."""
    edges = (g.rng.random((ROWS, ROWS)) < 0.02) + np.eye(ROWS)
    return (edges / edges.sum(1, keepdims=True)).astype(np.float32).astype(float)


def graph_network(order: str) -> tuple[Graph, list[tuple[Array, Array]]]:
    """A graph convolution with a dense adjacency matrix; neighbours are averaged before or behind the last layer."""
    g = Graph(12)
    links = adjacency(g)
    x = g.input("x", g.rows(ROWS, 10), ["N", 10])
    a = g.input("adj", links, ["N", "N"])
    h = g.apply("Relu", g.apply("MatMul", a, g.linear(x, P)))
    if order == "before":
        mixed = g.apply("MatMul", a, h)
        y = g.linear(mixed, C)
        g.output(y, "y")
        return g, [(mixed.value, y.value)]
    z = g.linear(h, C)
    y = g.apply("MatMul", a, z)
    g.output(y, "y")
    return g, [(h.value, z.value), (h.value, y.value), (links @ h.value, y.value)]


@pytest.mark.parametrize("order", ["before", "behind"])
def test_graphs_in_parts(order: str) -> None:
    """Nodes of a graph can't be cut into batches: what helps is said."""
    g, truths = graph_network(order)
    # Behind the aggregation there is no linear layer, so that no batch size helps.
    assert_right(g, *truths, certain=False, told=BATCH, remedy="--batch-size" if order == "before" else "")


@pytest.mark.parametrize("order", ["before", "behind"])
def test_whole_graphs(order: str) -> None:
    """In one batch the number is right, or it is refused."""
    g, truths = graph_network(order)
    assert_right(g, *truths, certain=False, batch_size=ROWS)


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("batch_size", [None, ROWS])
def test_lists_of_edges(fixed: bool, batch_size: int | None) -> None:
    """Edges as pairs of nodes are an input whose axes are not those of samples."""
    g = Graph(12, opset=18)
    source, target = np.nonzero(adjacency(g))
    edges = np.stack([source, target])
    x = g.input("x", g.rows(ROWS, 10), ["N", 10])
    e = g.input("edge_index", edges, [2, edges.shape[1] if fixed else "E"])
    sent, received = (g.apply("Gather", e, np.array(k), axis=0) for k in (0, 1))

    def gathered(v: Tensor) -> Tensor:
        message = g.apply("Gather", v, sent, axis=0)
        wide = g.apply("Expand", g.apply("Unsqueeze", received, np.array([1])), g.apply("Shape", message))
        nothing = g.apply("Mul", v, np.float32(0))
        return g.apply("ScatterElements", nothing, wide, message, axis=0, reduction="add")

    h = gathered(g.hidden(x, P))
    y = g.linear(h, C)
    g.output(y, "y")
    options = {} if batch_size is None else {"batch_size": batch_size}
    remedy = "--batch-size" if batch_size is None and not fixed else ""
    assert_right(g, (h.value, y.value), certain=False, remedy=remedy, **options)


# Samples along another axis


def recurrent(g: Graph, x: Tensor, width: int) -> Tensor:
    """The last state of a recurrent layer with time first."""
    weights = g.weight(1, width, x.width), g.weight(1, width, width, scale=0.3), g.weight(1, 2 * width)
    last = g.apply_all("RNN", x, *weights, names=("", ""), hidden_size=width)[1]
    return g.apply("Squeeze", last, np.array([0]))


TIME_FIRST = [("T", "N"), (12, "N"), ("seq_len", "batch"), ("dim_0", "dim_1"), ("time", "unk__3")]


@pytest.mark.parametrize("axes", TIME_FIRST)
@pytest.mark.parametrize("batch_size", [None, 7])
def test_recurrent_layers_with_time_first(axes: tuple[int | str, str], batch_size: int | None) -> None:
    """Samples along the second axis of the input are found, whatever the names of the axes."""
    g = Graph(13)
    x = g.input("x", g.rows(12, ROWS, 6), [*axes, 6])
    h = recurrent(g, x, P)
    y = g.linear(h, C)
    g.output(y, "y", [axes[1], C])
    options = {} if batch_size is None else {"batch_size": batch_size}
    labels = y.value.argmax(1)
    assert_right(g, (h.value, y.value), labels=labels, accuracy=1.0, rows=ROWS, **options)


@pytest.mark.parametrize("axes", TIME_FIRST[:3])
def test_sums_over_time_first(axes: tuple[int | str, str]) -> None:
    """The same with an average over time, which would accept the wrong axis."""
    g = Graph(14)
    h = g.reduce("ReduceMean", g.hidden(g.input("x", g.rows(12, ROWS, 6), [*axes, 6]), P), 0, keepdims=0)
    y = g.linear(h, C)
    g.output(y, "y", [axes[1], C])
    assert_right(g, (h.value, y.value), labels=y.value.argmax(1), accuracy=1.0, rows=ROWS)


def test_named_axis_of_samples() -> None:
    """--batch-axis names it where it can't be found."""
    g = Graph(13)
    x = g.input("x", g.rows(12, ROWS, 6), ["a", "b", 6])
    h = recurrent(g, x, P)
    y = g.linear(h, C)
    g.output(y, "y", ["b", C])
    assert_right(g, (h.value, y.value), rows=ROWS, batch_axis="x=1")
    assert_right(g, (h.value, y.value), rows=ROWS, batch_axis=1)


def test_recurrent_layers_with_samples_first() -> None:
    """Samples first, turned inside the model."""
    g = Graph(13)
    x = g.input("x", g.rows(ROWS, 12, 6), ["N", "T", 6])
    h = recurrent(g, g.apply("Transpose", x, perm=[1, 0, 2]), P)
    y = g.linear(h, C)
    g.output(y, "y")
    assert_right(g, (h.value, y.value), labels=y.value.argmax(1), accuracy=1.0, rows=ROWS)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ["state", "h0", "hidden_in"])
def test_state_with_samples_second(layers: int, name: str) -> None:
    """A recurrent state [layers, batch, width]: the axis of samples is found input by input, output by output."""
    g = Graph(15)
    x = g.input("x", g.rows(ROWS, 6), ["batch", 6])
    state = g.input(name, g.rows(layers, ROWS, P), [layers, "batch", P])
    h, states = x, []
    for k in range(layers):
        before = g.apply("Gather", state, np.array(k), axis=0)
        h = g.apply("Tanh", g.apply("Add", g.linear(h, P), g.apply("MatMul", before, g.weight(P, P))))
        states.append(g.apply("Unsqueeze", h, np.array([0])))
    y = g.linear(h, C)
    g.output(y, "y", ["batch", C])
    g.output(g.apply("Concat", *states, axis=0), "state_out", [layers, "batch", P])
    assert_right(g, (h.value, y.value), labels=y.value.argmax(1), accuracy=1.0, rows=ROWS)


def test_state_in_a_model_of_other_names() -> None:
    """The same where the axes of samples have different names in each input."""
    g = Graph(15)
    x = g.input("frames", g.rows(ROWS, 6), ["n", 6])
    state = g.input("memory", g.rows(1, ROWS, P), [1, "n2", P])
    before = g.apply("MatMul", g.apply("Squeeze", state, np.array([0])), g.weight(P, P))
    h = g.apply("Tanh", g.apply("Add", g.linear(x, P), before))
    y = g.linear(h, C)
    g.output(y, "y", ["n", C])
    assert_right(g, (h.value, y.value), rows=ROWS)


def test_views_of_one_sample_in_the_batch() -> None:
    """Augmented views that are joined along the axis of the batch, and averaged behind the features."""
    g, x = inputs("N", 10)
    both = g.apply("Concat", x, g.apply("Neg", x), axis=0)
    h = g.hidden(both, P)
    z = g.linear(h, C)
    pairs = g.apply("Reshape", z, np.array([2, -1, C]))
    y = g.reduce("ReduceMean", pairs, 0, keepdims=0)
    g.output(y, "y")
    first, second = np.split(h.value, 2)
    assert_right(g, ((first + second) / 2, y.value), (h.value, z.value), certain=False)


def test_rows_that_do_not_divide() -> None:
    """Rows that are no multiple of the samples are an error, never rounded."""
    g, x = inputs("N", 10)
    padded = g.apply("Concat", g.hidden(x, P), np.zeros((1, P)), axis=0)
    g.output(g.linear(padded, C), "y", ["M", C])
    assert_right(g, certain=False, told=BATCH)


@pytest.mark.parametrize("order", ["samples", "time"])
@pytest.mark.parametrize("end", ["viewed", "melted"])
@pytest.mark.parametrize("tail", ["none", "LogSoftmax", "Softmax"])
def test_tokens_in_one_axis(order: str, end: str, tail: str) -> None:
    """Rows melted as [T · B, p] or [B · T, p]: labels reach their own tokens, or are refused."""
    g, x = inputs("N", 6, 4)
    placed = g.apply("Add", x, g.weight(6, 4, scale=5))
    turned = g.apply("Transpose", placed, perm=[1, 0, 2]) if order == "time" else placed
    h = g.hidden(g.apply("Reshape", turned, np.array([-1, 4])), P)
    z = g.apply("Gemm", h, g.weight(P, C), g.weight(C))
    y = z if tail == "none" else g.apply(tail, z, axis=1)
    shape: list[int | str] = ["M", C]
    by_sample = z.value.reshape(6, -1, C).transpose(1, 0, 2) if order == "time" else z.value.reshape(-1, 6, C)
    if end == "viewed":
        y = g.apply("Reshape", y, np.array([6, -1, C] if order == "time" else [-1, 6, C]))
        y = g.apply("Transpose", y, perm=[1, 0, 2]) if order == "time" else y
        shape = ["N", 6, C]
    g.output(y, "y", shape)
    labels = by_sample.argmax(-1)
    flipped = g.rng.random(labels.shape) < 0.2
    labels = np.where(flipped, (labels + 1) % C, labels)
    result = assert_right(
        g, (h.value, z.value), labels=labels, accuracy=float(np.mean(~flipped)), rows=ROWS * 6, certain=end == "viewed"
    )
    assert isinstance(result, OnnxrichError | Analysis)
