"""Models composed of a body, a head, a tail and an effect of the batch, each with the D_LR that is right for it.

A part is a function that adds its nodes to a graph. What a body, head or tail does to the rows is known by
construction: the features φ, the outputs f of the last linear layer, and the rows that count. Where the model does not
say which number is meant, several are right, or a refusal is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import oracle
from graphs import Array, Graph, Shape, Tensor, axes_of
from onnx import TensorProto
from pipelines._verdict import BATCH, CHANCE, Case

CLASSES = 4
WIDTH = 9
TOKENS = 5

Middle = Callable[[Graph, Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class Body:
    """The penultimate layer, and where its rows lie.

    Attributes:
        features: φ, in the layout of the graph.
        kind: "rows" (rows, p), "tokens" (·, ·, p) or "maps" (samples, p, …).
        samples: brings values of that layout to (samples, …, width).
        finish: leads from what stands behind the head to the output of the model.
        shape: the declared shape of an output of some width.
        mask: the rows that count, of shape (samples, …); None for all.
        told: words of a notice that is right beside the number of all rows.
        labelled: whether rows of labels correspond to `samples`.
        certain: whether a refusal is wrong.
        options: options that the run needs.
    """

    features: Tensor
    kind: str
    samples: Callable[[Array], Array]
    finish: Callable[[Graph, Tensor], Tensor]
    shape: Callable[[int], Shape]
    mask: Array | None = None
    told: tuple[str, ...] = ()
    labelled: bool = True
    certain: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axis(self) -> int:
        """The axis of the features."""
        return 1 if self.kind == "maps" else -1


@dataclass(frozen=True, eq=False)
class Tail:
    """What stands behind a head.

    Attributes:
        output: the output of the model, in the layout of the features.
        truths: pairs of features and outputs whose D_LR is right; empty where only a refusal is.
        certain: whether a refusal is wrong.
        told: words of a notice beside which the first pair is right, though the output depends on more.
        more: further outputs of the model.
    """

    output: Tensor
    truths: tuple[tuple[Tensor, Tensor], ...]
    certain: bool = True
    told: tuple[str, ...] = ()
    more: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Part:
    """A function of the registry: the kinds of bodies that it fits, and whether a refusal is wrong for it."""

    build: Callable[..., Any]
    kinds: tuple[str, ...]
    certain: bool
    told: tuple[str, ...]


Registry = dict[str, Part]
BODIES: Registry = {}
HEADS: Registry = {}
TAILS: Registry = {}
EFFECTS: Registry = {}
ALL = ("rows", "tokens", "maps")


def part(
    registry: Registry, *kinds: str, certain: bool = True, told: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function under its name, for bodies of some kinds."""

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        registry[build.__name__.strip("_")] = Part(build, kinds or ALL, certain, told)
        return build

    return register


# Bodies


def rows_body(features: Tensor, **options: Any) -> Body:
    """Rows are samples."""
    return Body(features, "rows", lambda a: a, lambda g, y: y, lambda width: ["N", width], **options)


def tokens_body(features: Tensor, **options: Any) -> Body:
    """Rows are tokens, the samples first."""
    return Body(features, "tokens", lambda a: a, lambda g, y: y, lambda width: ["N", "T", width], **options)


def count(g: Graph) -> int:
    """A number of samples that no other size of these models equals."""
    return int(g.rng.integers(61, 100))


def token_input(g: Graph, n: int, name: str = "input_ids") -> Tensor:
    """Embedded tokens (samples, tokens, width), which differ in their positions too."""
    ids = g.input(name, g.rng.integers(0, 30, (n, TOKENS)), ["N", TOKENS])
    embedded = g.apply("Gather", g.weight(30, 8, scale=5), ids, axis=0)
    return g.apply("Add", embedded, g.weight(TOKENS, 8))


@part(BODIES)
def mlp(g: Graph, middle: Middle) -> Body:
    x = g.input("x", g.rows(count(g), 6), ["N", 6])
    return rows_body(middle(g, g.linear(g.hidden(x, 10), WIDTH), 0))


@part(BODIES)
def two_inputs(g: Graph, middle: Middle) -> Body:
    n = count(g)
    joined = g.apply(
        "Concat", g.input("a", g.rows(n, 4), ["batch", 4]), g.input("b", g.rows(n, 3), ["batch", 3]), axis=1
    )
    return rows_body(middle(g, g.linear(joined, WIDTH), 0))


@part(BODIES)
def state_second(g: Graph, middle: Middle) -> Body:
    """A recurrent state whose second axis is that of the samples, in and out."""
    n = count(g)
    x, state = g.input("x", g.rows(n, 6), ["batch", 6]), g.input("state", g.rows(1, n, 7), [1, "batch", 7])
    before = g.apply("MatMul", g.apply("Squeeze", state, np.array([0])), g.weight(7, WIDTH))
    features = middle(g, g.apply("Add", g.linear(x, WIDTH), before), 0)
    g.output(g.apply("Unsqueeze", features, np.array([0])), "state_out", [1, "batch", WIDTH])
    return rows_body(features)


@part(BODIES)
def tokens(g: Graph, middle: Middle) -> Body:
    return tokens_body(middle(g, g.linear(token_input(g, count(g)), WIDTH), 0))


@part(BODIES)
def pooled_tokens(g: Graph, middle: Middle) -> Body:
    pooled = g.reduce("ReduceMean", g.hidden(token_input(g, count(g)), 10), 1, keepdims=0)
    return rows_body(middle(g, g.linear(pooled, WIDTH), 0))


@part(BODIES)
def images(g: Graph, middle: Middle) -> Body:
    """Maps of two dimensions whose head is a convolution."""
    x = g.input("image", g.rows(count(g) // 4, 2, 3, 4), ["N", 2, 3, 4])
    maps = g.apply("Conv", x, g.weight(WIDTH, 2, 3, 3, scale=2), g.weight(WIDTH), pads=[1, 1, 1, 1])
    return Body(
        middle(g, maps, 0), "maps", lambda a: np.moveaxis(a, 1, -1), lambda g, y: y, lambda width: ["N", width, 3, 4]
    )


@part(BODIES)
def signals(g: Graph, middle: Middle) -> Body:
    """Maps of one dimension whose head is a convolution."""
    x = g.input("signal", g.rows(count(g), 2, 5), ["N", 2, 5])
    maps = g.apply("Conv", x, g.weight(WIDTH, 2, 3, scale=2), g.weight(WIDTH), pads=[1, 1])
    return Body(
        middle(g, maps, 0), "maps", lambda a: np.moveaxis(a, 1, -1), lambda g, y: y, lambda width: ["N", width, 5]
    )


@part(BODIES)
def pooled_images(g: Graph, middle: Middle) -> Body:
    x = g.input("image", g.rows(count(g), 2, 3, 4), ["N", 2, 3, 4])
    maps = g.apply("Relu", g.apply("Conv", x, g.weight(10, 2, 3, 3, scale=2), pads=[1, 1, 1, 1]))
    pooled = g.apply("Flatten", g.apply("GlobalAveragePool", maps))
    return rows_body(middle(g, g.linear(pooled, WIDTH), 0))


@part(BODIES)
def melted_time_first(g: Graph, middle: Middle) -> Body:
    """Rows lie token by token inside the model, and sample by sample in its output."""
    turned = g.apply("Transpose", token_input(g, count(g)), perm=[1, 0, 2])
    melted = g.apply("Reshape", turned, np.array([-1, 8]))
    features = middle(g, g.linear(melted, WIDTH), 0)

    def finish(g: Graph, y: Tensor) -> Tensor:
        return g.apply("Transpose", g.apply("Reshape", y, np.array([TOKENS, -1, y.width])), perm=[1, 0, 2])

    def samples(a: Array) -> Array:
        return a.reshape(TOKENS, -1, a.shape[-1]).transpose(1, 0, 2)

    return Body(features, "rows", samples, finish, lambda width: ["N", TOKENS, width])


@part(BODIES)
def melted_samples_first(g: Graph, middle: Middle) -> Body:
    """Rows lie sample by sample in one axis inside the model."""
    melted = g.apply("Reshape", token_input(g, count(g)), np.array([-1, 8]))
    features = middle(g, g.linear(melted, WIDTH), 0)

    def finish(g: Graph, y: Tensor) -> Tensor:
        return g.apply("Reshape", y, np.array([-1, TOKENS, y.width]))

    return Body(
        features, "rows", lambda a: a.reshape(-1, TOKENS, a.shape[-1]), finish, lambda width: ["N", TOKENS, width]
    )


@part(BODIES, certain=False)
def melted_to_the_end(g: Graph, middle: Middle) -> Body:
    """The output too has its rows token by token in one axis."""
    turned = g.apply("Transpose", token_input(g, count(g)), perm=[1, 0, 2])
    melted = g.apply("Reshape", turned, np.array([-1, 8]))
    return replace(rows_body(middle(g, g.linear(melted, WIDTH), 0)), labelled=False)


@part(BODIES)
def time_first_last_step(g: Graph, middle: Middle) -> Body:
    """A recurrent layer with time first, of which the last state is classified."""
    x = g.input("x", g.rows(TOKENS, count(g), 4), ["T", "N", 4])
    weights = g.weight(1, 10, 4), g.weight(1, 10, 10, scale=0.3), g.weight(1, 20)
    last = g.apply_all("RNN", x, *weights, names=("", ""), hidden_size=10)[1]
    return rows_body(middle(g, g.linear(g.apply("Squeeze", last, np.array([0])), WIDTH), 0))


@part(BODIES)
def time_first_mean(g: Graph, middle: Middle) -> Body:
    """Inputs with a fixed number of steps first, averaged over them."""
    x = g.input("x", g.rows(TOKENS, count(g), 4), [TOKENS, "batch_size", 4])
    pooled = g.reduce("ReduceMean", g.hidden(x, 10), 0, keepdims=0)
    return rows_body(middle(g, g.linear(pooled, WIDTH), 0))


@part(BODIES)
def time_first_throughout(g: Graph, middle: Middle) -> Body:
    """Inputs and outputs with the steps first; steps of one sample attend to each other."""
    x = g.input("x", g.rows(TOKENS, count(g), 6), [TOKENS, "N", 6])
    mixed = g.apply("Add", x, g.reduce("ReduceMean", g.hidden(x, 6), 0))
    features = middle(g, g.linear(mixed, WIDTH), 1)
    return Body(
        features,
        "tokens",
        lambda a: a.transpose(1, 0, 2),
        lambda g, y: y,
        lambda width: [TOKENS, "N", width],
        labelled=False,
    )


@part(BODIES, certain=False)
def melted_into_one_row(g: Graph, middle: Middle) -> Body:
    """All samples of a batch become one row: right with one sample a batch alone."""
    n = count(g)
    x = g.input("x", g.rows(n, TOKENS, 6), ["N", TOKENS, 6])
    # With one sample a batch the Reshape changes nothing.
    one_row = Tensor(g.apply("Reshape", Tensor(x.name, x.value[:1]), np.array([1, -1, 6])).name, x.value)
    pooled = g.reduce("ReduceMean", g.hidden(one_row, 10), 1, keepdims=0)
    return replace(rows_body(middle(g, g.linear(pooled, WIDTH), 0)), told=BATCH)


def masked(
    g: Graph, middle: Middle, *, name: str, inverted: bool = False, boolean: bool = False, past: int = 0
) -> Body:
    """Tokens with a mask of (samples, past + tokens); masked tokens leave the mean that each token is added to."""
    n = count(g)
    embedded = token_input(g, n)
    kept = np.arange(TOKENS) < g.rng.integers(2, TOKENS + 1, (n, 1))
    given = np.concatenate([np.ones((n, past), bool), kept], axis=1)
    values = given ^ inverted
    mask = g.input(name, values if boolean else values.astype(np.int64), ["N", TOKENS + past if past else "T"])
    weight = g.apply("Cast", mask, to=TensorProto.FLOAT)
    weight = g.apply("Sub", np.float32(1), weight) if inverted else weight
    weight = g.apply("Slice", weight, np.array([past]), np.array([past + TOKENS]), np.array([1])) if past else weight
    weight = g.apply("Unsqueeze", weight, np.array([2]))
    context = g.apply(
        "Div", g.reduce("ReduceSum", g.apply("Mul", embedded, weight), 1), g.reduce("ReduceSum", weight, 1)
    )
    features = middle(g, g.linear(g.apply("Add", embedded, context), WIDTH), 0)
    return tokens_body(features, mask=kept, told=("mask", name))


@part(BODIES)
def attention_mask(g: Graph, middle: Middle) -> Body:
    return masked(g, middle, name="attention_mask")


@part(BODIES)
def boolean_attention_mask(g: Graph, middle: Middle) -> Body:
    return masked(g, middle, name="attention_mask", boolean=True)


@part(BODIES, certain=False)
def mask_of_another_name(g: Graph, middle: Middle) -> Body:
    return masked(g, middle, name=str(g.rng.choice(["input_mask", "text_attention_mask", "mask", "valid_tokens"])))


@part(BODIES)
def mask_that_is_named(g: Graph, middle: Middle) -> Body:
    return replace(masked(g, middle, name="keep"), options={"mask": "keep"})


@part(BODIES, certain=False)
def inverted_mask(g: Graph, middle: Middle) -> Body:
    return masked(g, middle, name="src_key_padding_mask", inverted=True, boolean=True)


@part(BODIES)
def inverted_mask_that_is_named(g: Graph, middle: Middle) -> Body:
    body = masked(g, middle, name="padding", inverted=True, boolean=bool(g.rng.integers(2)))
    return replace(body, options={"mask": "not:padding"})


@part(BODIES, certain=False)
def mask_with_past(g: Graph, middle: Middle) -> Body:
    return masked(g, middle, name="attention_mask", past=3)


@part(BODIES, certain=False)
def mask_of_an_encoder(g: Graph, middle: Middle) -> Body:
    """A mask of the encoder's tokens, as many as the decoder's, whose own are not masked."""
    n = count(g)
    source, target = token_input(g, n), token_input(g, n, "decoder_input_ids")
    kept = np.arange(TOKENS) < g.rng.integers(2, TOKENS + 1, (n, 1))
    weight = g.input("attention_mask", kept.astype(np.int64), ["N", TOKENS])
    weight = g.apply("Unsqueeze", g.apply("Cast", weight, to=TensorProto.FLOAT), np.array([2]))
    context = g.reduce("ReduceSum", g.apply("Mul", source, weight), 1)
    features = middle(g, g.linear(g.apply("Add", target, context), WIDTH), 0)
    return tokens_body(features)


# Heads: from features to the outputs of the last linear layer


@part(HEADS, "rows")
def gemm(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Gemm", x, g.weight(WIDTH, CLASSES), g.weight(CLASSES))


@part(HEADS, "rows")
def gemm_transposed(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Gemm", x, g.weight(CLASSES, WIDTH), g.weight(CLASSES), transB=1)


@part(HEADS, "rows")
def gemm_of_transposed_features(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Gemm", g.apply("Transpose", x, perm=[1, 0]), g.weight(WIDTH, CLASSES), g.weight(CLASSES), transA=1)


@part(HEADS, "rows")
def gemm_scaled(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Gemm", x, g.weight(WIDTH, CLASSES), g.weight(CLASSES), alpha=0.5, beta=2.0)


@part(HEADS, "rows", "tokens")
def matmul(g: Graph, x: Tensor) -> Tensor:
    return g.apply("MatMul", x, g.weight(WIDTH, CLASSES))


@part(HEADS, "rows", "tokens")
def bias_last(g: Graph, x: Tensor) -> Tensor:
    return g.linear(x, CLASSES)


@part(HEADS, "rows", "tokens")
def bias_first(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Add", g.weight(CLASSES), g.apply("MatMul", x, g.weight(WIDTH, CLASSES)))


@part(HEADS, "rows", "tokens")
def bias_subtracted(g: Graph, x: Tensor) -> Tensor:
    return g.apply("Sub", g.apply("MatMul", x, g.weight(WIDTH, CLASSES)), g.weight(CLASSES))


@part(HEADS, "rows", "tokens")
def einsum(g: Graph, x: Tensor) -> Tensor:
    letters = axes_of(x.value.ndim - 1)
    product = g.apply("Einsum", x, g.weight(CLASSES, WIDTH), equation=f"{letters}x,yx->{letters}y")
    return g.apply("Add", product, g.weight(CLASSES))


@part(HEADS, "rows")
def weight_left(g: Graph, x: Tensor) -> Tensor:
    product = g.apply("MatMul", g.weight(CLASSES, WIDTH), g.apply("Transpose", x, perm=[1, 0]))
    return g.apply("Transpose", product, perm=[1, 0])


@part(HEADS, "rows", "tokens")
def weight_transposed(g: Graph, x: Tensor) -> Tensor:
    return g.apply("MatMul", x, g.apply("Transpose", g.constant(g.weight(CLASSES, WIDTH)), perm=[1, 0]))


@part(HEADS, "rows", "tokens")
def weight_cast(g: Graph, x: Tensor) -> Tensor:
    half = g.constant(g.weight(WIDTH, CLASSES).astype(np.float16))
    return g.apply("MatMul", x, g.apply("Cast", half, to=TensorProto.FLOAT))


@part(HEADS, "rows", "tokens")
def weight_of_a_node(g: Graph, x: Tensor) -> Tensor:
    return g.apply("MatMul", x, g.constant(g.weight(WIDTH, CLASSES), node=True))


@part(HEADS, "rows", "tokens")
def weight_identity(g: Graph, x: Tensor) -> Tensor:
    return g.apply("MatMul", x, g.apply("Identity", g.constant(g.weight(WIDTH, CLASSES))))


@part(HEADS, "rows", "tokens")
def concatenated(g: Graph, x: Tensor) -> Tensor:
    """Two linear layers on the same features, joined."""
    return g.apply("Concat", g.linear(x, 1), g.linear(x, CLASSES - 1), axis=-1)


@part(HEADS, "rows", "tokens")
def lora(g: Graph, x: Tensor) -> Tensor:
    low = g.apply("MatMul", g.apply("MatMul", x, g.weight(WIDTH, 2)), g.weight(2, CLASSES))
    return g.apply("Add", g.linear(x, CLASSES), g.apply("Mul", low, np.float32(2)))


@part(HEADS, "rows", "tokens")
def dueling(g: Graph, x: Tensor) -> Tensor:
    value, advantage = g.linear(x, 1), g.linear(x, CLASSES)
    return g.apply("Add", value, g.apply("Sub", advantage, g.reduce("ReduceMean", advantage, -1)))


@part(HEADS, "rows", "tokens")
def scale_and_shift(g: Graph, x: Tensor) -> Tensor:
    """Outputs brought back to their units."""
    scaled = g.apply("Mul", g.linear(x, CLASSES), np.linspace(0.5, 3, CLASSES))
    return g.apply("Add", scaled, g.weight(CLASSES))


@part(HEADS, "rows")
def normalization_behind(g: Graph, x: Tensor) -> Tensor:
    return normalized(g, g.apply("Gemm", x, g.weight(WIDTH, CLASSES), g.weight(CLASSES)))


@part(HEADS, "tokens")
def reshaped_gemm(g: Graph, x: Tensor) -> Tensor:
    shape = x.value.shape
    flat = g.apply("Reshape", x, np.array([-1, WIDTH]))
    rows = g.apply("Gemm", flat, g.weight(WIDTH, CLASSES), g.weight(CLASSES))
    back = [-1, shape[1], CLASSES] if shape[0] != TOKENS else [shape[0], -1, CLASSES]
    return g.apply("Reshape", rows, np.array(back))


@part(HEADS, "tokens")
def convolution_of_tokens(g: Graph, x: Tensor) -> Tensor:
    maps = g.apply("Conv", g.apply("Transpose", x, perm=[0, 2, 1]), g.weight(CLASSES, WIDTH, 1), g.weight(CLASSES))
    return g.apply("Transpose", maps, perm=[0, 2, 1])


@part(HEADS, "rows", "tokens", certain=False)
def contraction(g: Graph, x: Tensor) -> Tensor:
    """A linear layer written as a product that is summed over the features."""
    product = g.apply("Mul", g.apply("Unsqueeze", x, np.array([-2])), g.weight(CLASSES, WIDTH))
    return g.reduce("ReduceSum", product, -1, keepdims=0)


@part(HEADS, "maps")
def convolution(g: Graph, x: Tensor) -> Tensor:
    ones = [1] * (x.value.ndim - 2)
    return g.apply("Conv", x, g.weight(CLASSES, WIDTH, *ones, scale=2), g.weight(CLASSES))


@part(HEADS, "maps")
def convolution_without_bias(g: Graph, x: Tensor) -> Tensor:
    ones = [1] * (x.value.ndim - 2)
    return g.apply("Conv", x, g.weight(CLASSES, WIDTH, *ones, scale=2), kernel_shape=ones)


@part(HEADS, "maps")
def convolution_and_normalization(g: Graph, x: Tensor) -> Tensor:
    return normalized(g, convolution(g, x))


@part(HEADS, "maps")
def matmul_over_channels(g: Graph, x: Tensor) -> Tensor:
    rank = x.value.ndim
    last = g.apply("Transpose", x, perm=[0, *range(2, rank), 1])
    return g.apply("Transpose", g.linear(last, CLASSES), perm=[0, rank - 1, *range(1, rank - 1)])


@part(HEADS, "maps")
def lora_of_convolutions(g: Graph, x: Tensor) -> Tensor:
    ones = [1] * (x.value.ndim - 2)
    low = g.apply("Conv", g.apply("Conv", x, g.weight(2, WIDTH, *ones)), g.weight(CLASSES, 2, *ones))
    return g.apply("Add", convolution(g, x), low)


def normalized(g: Graph, x: Tensor) -> Tensor:
    """Batch normalisation in inference mode over axis 1."""
    width = x.value.shape[1]
    scale, variance = np.linspace(0.5, 2, width), np.linspace(0.3, 1.5, width)
    constants = [scale, g.weight(width), g.weight(width), variance]
    return g.apply("BatchNormalization", x, *constants)


# Tails


def plain(output: Tensor, x: Tensor, f: Tensor, **options: Any) -> Tail:
    """A tail that is a function of the head's outputs alone."""
    return Tail(output, ((x, f),), **options)


@part(TAILS)
def no_tail(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(f, x, f)


@part(TAILS)
def softmax(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Softmax", f, axis=axis), x, f)


@part(TAILS)
def log_softmax(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("LogSoftmax", f, axis=axis), x, f)


@part(TAILS)
def written_softmax(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    e = g.apply("Exp", g.apply("Sub", f, g.reduce("ReduceMax", f, axis)))
    return plain(g.apply("Div", e, g.reduce("ReduceSum", e, axis)), x, f)


@part(TAILS)
def written_softmax_above_infinity(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """As JAX writes it: the maximum is kept above −∞."""
    top = g.apply("Max", g.reduce("ReduceMax", f, axis), np.float32(-np.inf))
    e = g.apply("Exp", g.apply("Sub", f, top))
    return plain(g.apply("Div", e, g.reduce("ReduceSum", e, axis)), x, f)


@part(TAILS)
def written_log_softmax(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    shifted = g.apply("Sub", f, g.reduce("ReduceMax", f, axis))
    total = g.apply("Log", g.reduce("ReduceSum", g.apply("Exp", shifted), axis))
    return plain(g.apply("Sub", shifted, total), x, f)


@part(TAILS)
def log_sum_exp_subtracted(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Sub", f, g.reduce("ReduceLogSumExp", f, axis)), x, f)


@part(TAILS)
def sigmoid(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Sigmoid", f), x, f)


@part(TAILS)
def written_sigmoid(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Reciprocal", g.apply("Add", g.apply("Exp", g.apply("Neg", f)), np.float32(1))), x, f)


@part(TAILS)
def temperature(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Softmax", g.apply("Div", f, np.float32(1.7)), axis=axis), x, f)


@part(TAILS)
def clip(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Clip", f, np.float32(-0.5), np.float32(2)), x, f)


@part(TAILS)
def rectified_by_shape(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """A ReLU whose zeros are made from the shape of the outputs."""
    return plain(g.apply("Max", f, g.apply("ConstantOfShape", g.apply("Shape", f))), x, f)


@part(TAILS)
def decision_beside(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(f, x, f, more=(g.apply("ArgMax", f, axis=axis),))


@part(TAILS)
def best_two_beside(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    p = g.apply("Softmax", f, axis=axis)
    values, places = g.apply_all("TopK", p, np.array([2]), names=("", ""), axis=axis)
    return plain(p, x, f, more=(values, places))


@part(TAILS, "rows", "tokens")
def expectation(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """The mean of fixed values under a softmax."""
    values = np.arange(CLASSES, dtype=float)[:, None]
    return plain(g.apply("MatMul", g.apply("Softmax", f, axis=-1), values), x, f)


@part(TAILS, "rows", "tokens")
def summed_expectation(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    product = g.apply("Mul", g.apply("Softmax", f, axis=-1), np.arange(CLASSES, dtype=float))
    return plain(g.reduce("ReduceSum", product, -1), x, f)


@part(TAILS, certain=False)
def unit_length(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    # A row of zeros has no direction.
    length = g.apply("Max", g.reduce("ReduceL2", f, axis), np.float32(1e-12))
    return plain(g.apply("Div", f, length), x, f)


@part(TAILS, "rows", "tokens", certain=False)
def layer_normalization(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("LayerNormalization", f, np.ones(CLASSES), np.zeros(CLASSES), axis=-1), x, f)


@part(TAILS, certain=False)
def swish(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    return plain(g.apply("Mul", f, g.apply("Sigmoid", f)), x, f)


@part(TAILS, "rows", "tokens", certain=False)
def residual(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """y = f + g(f) with a hidden layer in g: linear in no layer's features, so the last ones stand for y if any do."""
    late = g.hidden(f, 7)
    y = g.apply("Add", f, g.linear(late, CLASSES))
    return Tail(y, ((late, y),))


@part(TAILS, "rows", "tokens", certain=False)
def residual_from_features(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """y = f + g(φ) with a hidden layer in g: linear in both layers together."""
    late = g.hidden(x, 7)
    y = g.apply("Add", f, g.linear(late, CLASSES))
    return Tail(y, ((joined(x, late), y),))


@part(TAILS, "rows", "tokens", certain=False)
def ensemble(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    other = g.apply("Tanh", g.linear(x, 6))
    y = g.apply("Mean", f, g.linear(other, CLASSES))
    return Tail(y, ((joined(x, other), y),))


@part(TAILS, "rows", "tokens", certain=False)
def shared_gate(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """f · σ(g), both linear on the same features: the outputs of one head are both."""
    gate = g.linear(x, CLASSES)
    return Tail(g.apply("Mul", f, g.apply("Sigmoid", gate)), ((x, joined(f, gate)),))


@part(TAILS, "rows", "tokens", certain=False)
def experts(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """A mixture of two experts by a gate on the same features: the outputs of one head are all three."""
    other, gate = g.linear(x, CLASSES), g.linear(x, 2)
    first, second = g.apply_all("Split", g.apply("Softmax", gate, axis=-1), np.array([1, 1]), names=("", ""), axis=-1)
    mixed = g.apply("Add", g.apply("Mul", f, first), g.apply("Mul", other, second))
    return Tail(mixed, ((x, joined(f, joined(other, gate))),))


@part(TAILS, "rows", "tokens", certain=False)
def mean_and_deviation(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """Two parts of one head's outputs, one of them behind a softplus."""
    half = CLASSES // 2
    mean, deviation = g.apply_all("Split", f, np.array([half, CLASSES - half]), names=("", ""), axis=-1)
    return plain(g.apply("Concat", mean, g.apply("Softplus", deviation), axis=-1), x, f)


@part(TAILS, "rows", certain=False)
def distances(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """Squared distances to fixed points: a sum over the outputs is no activation of them."""
    points = g.rng.standard_normal((3, CLASSES)).astype(np.float32)
    differences = g.apply("Sub", g.apply("Unsqueeze", f, np.array([1])), points)
    squares = g.apply("Pow", differences, np.float32(2))
    return Tail(g.apply("Neg", g.reduce("ReduceSum", squares, 2, keepdims=0)), ())


@part(TAILS, "rows", certain=False)
def gate_of_an_input(g: Graph, x: Tensor, f: Tensor, axis: int) -> Tail:
    """Outputs that another input decides too: no function of the head alone."""
    gate = g.input("gate", g.rows(len(x.value), CLASSES), ["N", CLASSES])
    output = g.apply("Mul", f, g.apply("Sigmoid", gate))
    return Tail(output, ((x, f),), told=("gate",))


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Two tensors beside each other, as values alone."""
    return Tensor("", np.concatenate([first.value, second.value], axis=-1))


# Effects between the linear layer before the features and their activation


@part(EFFECTS)
def none(g: Graph, z: Tensor, axis: int) -> Tensor:
    return z


@part(EFFECTS, "rows", "maps")
def normalization(g: Graph, z: Tensor, axis: int) -> Tensor:
    return normalized(g, z)


@part(EFFECTS)
def dropout_off(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Dropout", z, np.float32(0.5))


@part(EFFECTS, "tokens")
def attention_of_tokens(g: Graph, z: Tensor, axis: int) -> Tensor:
    """Tokens of one sample attend to each other."""
    first = z if axis == 0 else g.apply("Transpose", z, perm=[1, 0, 2])
    scores = g.apply("MatMul", first, g.apply("Transpose", first, perm=[0, 2, 1]))
    mixed = g.apply("MatMul", g.apply("Softmax", g.apply("Div", scores, np.float32(3)), axis=-1), first)
    return mixed if axis == 0 else g.apply("Transpose", mixed, perm=[1, 0, 2])


@part(EFFECTS, "tokens")
def cumulative_over_tokens(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("CumSum", z, np.array(1 - axis))


@part(EFFECTS)
def mean_of_last_axis_subtracted(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Sub", z, g.reduce("ReduceMean", z, -1))


@part(EFFECTS, "rows", "maps", told=BATCH)
def normalization_in_training(g: Graph, z: Tensor, axis: int) -> Tensor:
    width = z.value.shape[1]
    constants = [np.ones(width), np.zeros(width), np.zeros(width), np.ones(width)]
    return g.apply_all("BatchNormalization", z, *constants, names=("", "", ""), training_mode=1)[0]


@part(EFFECTS, "rows", "tokens", told=BATCH)
def attention_over_the_batch(g: Graph, z: Tensor, axis: int) -> Tensor:
    turned = g.apply("Transpose", z, perm=[1, 0, 2]) if z.value.ndim == 3 and axis == 0 else z
    last = [*range(z.value.ndim - 2), z.value.ndim - 1, z.value.ndim - 2]
    scores = g.apply("MatMul", turned, g.apply("Transpose", turned, perm=last))
    mixed = g.apply("MatMul", g.apply("Softmax", scores, axis=-1), turned)
    return g.apply("Transpose", mixed, perm=[1, 0, 2]) if turned is not z else mixed


@part(EFFECTS, told=BATCH)
def mean_over_the_batch_subtracted(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Sub", z, g.reduce("ReduceMean", z, axis))


@part(EFFECTS, told=BATCH)
def maximum_over_the_batch(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Div", z, g.reduce("ReduceMax", g.apply("Abs", z), axis))


@part(EFFECTS, told=BATCH)
def cumulative_over_the_batch(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("CumSum", z, np.array(axis))


@part(EFFECTS, told=BATCH)
def first_row_subtracted(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Sub", z, g.apply("Gather", z, np.array([0]), axis=axis))


@part(EFFECTS, told=CHANCE)
def noise(g: Graph, z: Tensor, axis: int) -> Tensor:
    return g.apply("Add", z, g.apply("RandomNormalLike", z))


@part(EFFECTS, certain=False)
def dropout_on(g: Graph, z: Tensor, axis: int) -> Tensor:
    """The runtime on a CPU leaves it out, another may draw."""
    return g.apply("Dropout", z, np.float32(0.5), np.bool_(True))


# Cases


def compose(body: str, head: str, tail: str, effect: str, seed: int, batch_size: int | None = None) -> Case:
    """The case of some parts, with weights and data from a seed."""
    g = Graph(seed)
    built: Body = BODIES[body].build(g, lambda g, z, axis: _activated(g, EFFECTS[effect].build(g, z, axis)))
    f = HEADS[head].build(g, built.features)
    end: Tail = TAILS[tail].build(g, built.features, f, built.axis)
    output = built.finish(g, end.output)
    width = output.value.shape[built.axis]
    g.output(output, "y", built.shape(width))
    for k, more in enumerate(end.more):
        g.output(more, f"more_{k}", [f"dim_{k}_{axis}" for axis in range(more.value.ndim)])
    labels, accuracy = _labels(g, built, f)
    said = EFFECTS[effect].told
    rows = [tuple(_rows(built, each, built.mask) for each in truth) for truth in end.truths]
    whole = [tuple(_rows(built, each, None) for each in truth) for truth in end.truths]
    is_measurable = not said
    parts = (BODIES[body], HEADS[head], TAILS[tail], EFFECTS[effect])
    return Case(
        name=f"{body}, {effect}, {head}, {tail}, seed {seed}, batch_size {batch_size}",
        model=g.model(),
        data=g.data,
        labels=labels if is_measurable else None,
        options=dict(built.options) | ({} if batch_size is None else {"batch_size": batch_size}),
        values=tuple(oracle.d_lr(*pair) for pair in rows) if is_measurable else (),
        rows=len(_rows(built, f, built.mask)),
        accuracy=accuracy if is_measurable and any(outputs is f for _, outputs in end.truths) else None,
        told=(*said, *built.told, *end.told),
        whole=oracle.d_lr(*whole[0]) if built.told and whole and is_measurable else None,
        certain=is_measurable and all(each.certain for each in parts),
    )


def _activated(g: Graph, z: Tensor) -> Tensor:
    return g.apply(str(g.rng.choice(["Relu", "Tanh", "Elu"])), z)


def _rows(body: Body, tensor: Tensor, mask: Array | None) -> Array:
    """The rows of a tensor, those of a mask if there is one."""
    values = body.samples(tensor.value) if body.kind != "maps" else np.moveaxis(tensor.value, 1, -1)
    return values.reshape(-1, values.shape[-1]) if mask is None else values[mask]


def _labels(g: Graph, body: Body, f: Tensor) -> tuple[Array | None, float | None]:
    """Labels that the head's outputs predict four times of five, and the accuracy over the rows that count."""
    if not body.labelled:
        return None, None
    decisions = body.samples(f.value).argmax(-1)
    labels = np.where(g.rng.random(decisions.shape) < 0.2, g.rng.integers(0, CLASSES, decisions.shape), decisions)
    right = labels == decisions
    return labels, float(np.mean(right if body.mask is None else right[body.mask]))
