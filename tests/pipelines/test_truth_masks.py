"""Masks and labels to ignore: the rows that count are those that the mask leaves, or a notice names the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Array, Graph, Tensor
from onnx import TensorProto, helper, numpy_helper
from pipelines._verdict import MASK, assert_right

from onnxrich import Analysis
from onnxrich.errors import OnnxrichError

ROWS, TOKENS, P, C, WIDTH = 90, 6, 14, 5, 6


def lengths(g: Graph, tokens: int = TOKENS) -> Array:
    """The tokens that are no padding, at least two of each sample."""
    return np.arange(tokens) < g.rng.integers(2, tokens + 1, (ROWS, 1))


def embedded(g: Graph, name: str = "input_ids", tokens: int = TOKENS, axis: str = "T") -> Tensor:
    """Embedded tokens with their positions."""
    ids = g.input(name, g.rng.integers(0, 30, (ROWS, tokens)), ["B", axis])
    return g.apply("Add", g.apply("Gather", g.weight(30, WIDTH, scale=5), ids), g.weight(tokens, WIDTH))


def mean_of_kept(g: Graph, x: Tensor, kept: Tensor) -> Tensor:
    """The mean over the tokens that a mask of ones and zeros leaves."""
    weight = g.apply("Unsqueeze", kept, np.array([2]))
    return g.apply("Div", g.reduce("ReduceSum", g.apply("Mul", x, weight), 1), g.reduce("ReduceSum", weight, 1))


def token_model(
    name: str, *, dtype: Any = np.int64, inverted: bool = False, past: int = 0, order: str = "ids first"
) -> tuple[Graph, Tensor, Tensor, Array]:
    """Tokens, the mean of those that the mask leaves added; φ, f and the tokens that count."""
    g = Graph(21)
    kept = lengths(g)
    given = np.concatenate([np.ones((ROWS, past), bool), kept], axis=1)
    length: int | str = "past_and_T" if past else "T"
    if order == "ids first":
        x = embedded(g)
        mask = g.input(name, (given ^ inverted).astype(dtype), ["B", length])
    else:
        mask = g.input(name, (given ^ inverted).astype(dtype), ["B", length])
        x = embedded(g)
    weight = g.apply("Cast", mask, to=TensorProto.FLOAT)
    weight = g.apply("Sub", np.float32(1), weight) if inverted else weight
    weight = g.apply("Slice", weight, np.array([past]), np.array([10**6]), np.array([1])) if past else weight
    h = g.hidden(g.apply("Add", x, mean_of_kept(g, x, weight)), P)
    y = g.linear(h, C)
    g.output(y, "logits", ["B", "T", C])
    return g, h, y, kept


def every(*tensors: Tensor) -> tuple[Array, ...]:
    """All rows of tensors."""
    return tuple(tensor.value.reshape(-1, tensor.width) for tensor in tensors)


def those(kept: Array, *tensors: Tensor) -> tuple[Array, ...]:
    """The rows that count."""
    return tuple(tensor.value[kept] for tensor in tensors)


# Masks of one entry a token


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.bool_, np.float32])
@pytest.mark.parametrize("order", ["ids first", "mask first"])
def test_attention_mask(dtype: Any, order: str) -> None:
    """The mask of this name is taken by itself, of whatever type and place."""
    g, h, y, kept = token_model("attention_mask", dtype=dtype, order=order)
    assert_right(g, those(kept, h, y), rows=int(kept.sum()))


OTHER_NAMES = [
    "input_mask", "mask", "encoder_attention_mask", "text_attention_mask", "padding_mask", "valid_mask", "src_mask"
]  # fmt: skip


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_masks_of_other_names(name: str) -> None:
    """A mask of another name is taken, or named beside the number of all rows, or refused with its name."""
    g, h, y, kept = token_model(name)
    assert_right(g, those(kept, h, y), told=MASK, whole=every(h, y), certain=False, remedy=name)


@pytest.mark.parametrize("name", ["src_key_padding_mask", "key_padding_mask", "tgt_padding_mask", "pad_mask"])
@pytest.mark.parametrize("dtype", [np.bool_, np.int64])
def test_inverted_masks(name: str, dtype: Any) -> None:
    """A mask that is 1 for padding is never read the other way round."""
    g, h, y, kept = token_model(name, inverted=True, dtype=dtype)
    assert_right(g, those(kept, h, y), told=MASK, whole=every(h, y), certain=False, remedy=name)


@pytest.mark.parametrize("name", ["keep", "input_mask", "length_flags"])
def test_mask_that_is_named(name: str) -> None:
    """--mask NAME takes it."""
    g, h, y, kept = token_model(name)
    assert_right(g, those(kept, h, y), rows=int(kept.sum()), mask=name)


@pytest.mark.parametrize("name", ["src_key_padding_mask", "padding", "is_pad"])
@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32])
def test_inverted_mask_that_is_named(name: str, dtype: Any) -> None:
    """--mask not:NAME takes it the other way round."""
    g, h, y, kept = token_model(name, inverted=True, dtype=dtype)
    assert_right(g, those(kept, h, y), rows=int(kept.sum()), mask=f"not:{name}")


@pytest.mark.parametrize("other", ["input_mask", "decoder_input_mask"])
def test_known_mask_beside_another(other: str) -> None:
    """Beside a mask that is known, another input of its shape changes nothing."""
    g, h, y, kept = token_model("attention_mask")
    flags = g.input(other, np.ones((ROWS, TOKENS), np.int64), ["B", "T"])
    g.output(g.reduce("ReduceSum", flags, 1), "length", ["B", 1])
    assert_right(g, those(kept, h, y))


def test_named_mask_before_the_known_one() -> None:
    """The mask that is named goes before attention_mask."""
    g, h, y, _ = token_model("attention_mask")
    first = np.zeros((ROWS, TOKENS), np.int64)
    first[:, :3] = 1
    flags = g.input("first_tokens", first, ["B", "T"])
    g.output(g.reduce("ReduceSum", flags, 1), "length", ["B", 1])
    assert_right(g, those(first == 1, h, y), mask="first_tokens")


def test_mask_of_pooled_tokens() -> None:
    """Where rows are samples no mask is needed, and none is applied."""
    g = Graph(22)
    x, kept = embedded(g), lengths(g)
    weight = g.apply("Cast", g.input("attention_mask", kept.astype(np.int64), ["B", "T"]), to=TensorProto.FLOAT)
    pooled = g.apply("Squeeze", mean_of_kept(g, x, weight), np.array([1]))
    h = g.hidden(pooled, P)
    y = g.linear(h, C)
    g.output(y, "logits", ["B", C])
    assert_right(g, (h.value, y.value), rows=ROWS)


def test_mask_of_positions() -> None:
    """A mask of (samples, height, width) for maps."""
    g = Graph(23)
    x = g.input("pixel_values", g.rows(ROWS, 2, 3, 4), ["B", 2, 3, 4])
    kept = g.rng.random((ROWS, 3, 4)) < 0.7
    mask = g.input("pixel_mask", kept.astype(np.int64), ["B", 3, 4])
    shown = g.apply("Mul", x, g.apply("Unsqueeze", g.apply("Cast", mask, to=TensorProto.FLOAT), np.array([1])))
    h = g.apply("Relu", g.apply("Conv", shown, g.weight(P, 2, 3, 3, scale=2), g.weight(P), pads=[1, 1, 1, 1]))
    y = g.apply("Conv", h, g.weight(C, P, 1, 1), g.weight(C))
    g.output(y, "y", ["B", C, 3, 4])
    maps = [np.moveaxis(a.value, 1, -1) for a in (h, y)]
    whole = tuple(a.reshape(-1, a.shape[-1]) for a in maps)
    assert_right(g, (maps[0][kept], maps[1][kept]), told=MASK, whole=whole, certain=False, remedy="pixel_mask")


# Masks longer than the rows


@pytest.mark.parametrize("past", [1, 4, TOKENS])
def test_mask_with_a_past(past: int) -> None:
    """A mask of past and present tokens: the present ones count, or a notice names the mask."""
    g, h, y, kept = token_model("attention_mask", past=past)
    assert_right(
        g, those(kept, h, y), told=MASK, whole=every(h, y), certain=False, remedy="attention_mask", rows=int(kept.sum())
    )


def test_mask_with_a_prefix_of_states() -> None:
    """The same where the past is an input of states, as decoders have it."""
    g, h, y, kept = decoder(past=4)
    assert_right(
        g, those(kept, h, y), told=MASK, whole=every(h, y), certain=False, remedy="attention_mask", rows=int(kept.sum())
    )


@pytest.mark.parametrize("given", [True, False])
def test_empty_past(given: bool) -> None:
    """An empty past leaves the mask as long as the rows; where the data lack it, it is filled in."""
    g, h, y, kept = decoder(past=0)
    if not given:
        for name in [name for name in g.data if name.startswith("past")]:
            del g.data[name]
    assert_right(g, those(kept, h, y), rows=int(kept.sum()))


def test_mask_that_is_missing() -> None:
    """Where the data lack the mask, it is named: by a refusal, or beside the number of all tokens."""
    g, *_ = decoder(past=0)
    del g.data["attention_mask"]
    assert_right(g, told=("attention_mask",), certain=False, remedy="attention_mask")


def test_positions_that_are_missing() -> None:
    """Positions that the data lack count from 0, or are named by a refusal."""
    g, h, y, kept = decoder(past=0)
    del g.data["position_ids"]
    assert_right(g, those(kept, h, y), certain=False, remedy="position_ids")


def test_positions_of_one_row() -> None:
    """An input of one row beside many samples is refused by its name, or is the same for every sample."""
    g, h, y, kept = decoder(past=0)
    g.data["position_ids"] = g.data["position_ids"][:1]
    assert_right(g, those(kept, h, y), certain=False, remedy="position_ids")


def decoder(past: int) -> tuple[Graph, Tensor, Tensor, Array]:
    """Attention over a past of keys and values and the present tokens, with a mask of both."""
    g = Graph(24)
    ids = g.input("input_ids", g.rng.integers(0, 30, (ROWS, TOKENS)), ["B", "T"])
    kept = lengths(g)
    both = np.concatenate([np.ones((ROWS, past), bool), kept], axis=1).astype(np.int64)
    mask = g.input("attention_mask", both, ["B", "P+T"])
    places = np.tile(np.arange(TOKENS), (ROWS, 1))
    positions = g.input("position_ids", places, ["B", "T"])
    states = [
        g.input(f"past_key_values.0.{kind}", g.rng.standard_normal((ROWS, 2, past, 3)), ["B", 2, "P", 3])
        for kind in ("key", "value")
    ]
    x = g.apply("Gather", g.weight(30, WIDTH, scale=5), ids)
    x = g.apply("Add", x, g.apply("Gather", g.weight(64, WIDTH, scale=5), positions))

    def split_heads(tensor: Tensor) -> Tensor:
        return g.apply("Transpose", g.apply("Reshape", tensor, np.array([0, -1, 2, 3])), perm=[0, 2, 1, 3])

    query, key, value = (split_heads(g.apply("MatMul", x, g.weight(WIDTH, WIDTH))) for _ in range(3))
    key, value = (g.apply("Concat", old, new, axis=2) for old, new in zip(states, (key, value), strict=True))
    hidden_from = g.apply("Sub", np.float32(1), g.apply("Cast", mask, to=TensorProto.FLOAT))
    penalty = g.apply("Unsqueeze", g.apply("Mul", hidden_from, np.float32(-1e9)), np.array([1, 2]))
    scores = g.apply("Add", g.apply("MatMul", query, g.apply("Transpose", key, perm=[0, 1, 3, 2])), penalty)
    mixed = g.apply("MatMul", g.apply("Softmax", scores, axis=-1), value)
    joined = g.apply("Reshape", g.apply("Transpose", mixed, perm=[0, 2, 1, 3]), np.array([0, -1, WIDTH]))
    h = g.hidden(g.apply("Add", joined, x), P)
    y = g.apply("MatMul", h, g.weight(P, 30))
    g.output(y, "logits", ["B", "T", 30])
    for kind, tensor in (("key", key), ("value", value)):
        g.output(tensor, f"present.0.{kind}", ["B", 2, "P+T", 3])
    return g, h, y, kept


# Encoders and decoders


@pytest.mark.parametrize("own_mask", ["decoder_attention_mask", None])
@pytest.mark.parametrize("source_tokens", [TOKENS, TOKENS + 3])
@pytest.mark.parametrize("ids", ["decoder_input_ids", "labels_in"])
def test_mask_of_the_encoder(own_mask: str | None, source_tokens: int, ids: str) -> None:
    """Rows of the decoder are masked by the decoder's mask alone, and by none where there is none."""
    g = Graph(25)
    source = embedded(g, "input_ids", source_tokens, "S")
    seen, kept = lengths(g, source_tokens), lengths(g)
    weight = g.apply("Cast", g.input("attention_mask", seen.astype(np.int64), ["B", "S"]), to=TensorProto.FLOAT)
    x = g.apply("Add", embedded(g, ids), mean_of_kept(g, source, weight))
    if own_mask:
        own = g.apply("Cast", g.input(own_mask, kept.astype(np.int64), ["B", "T"]), to=TensorProto.FLOAT)
        x = g.apply("Add", x, mean_of_kept(g, x, own))
    h = g.hidden(x, P)
    y = g.linear(h, C)
    g.output(y, "logits", ["B", "T", C])
    # Where the decoder's ids have a name of their own, the names of the axes alone tell the masks apart.
    certain = own_mask is None or ids == "decoder_input_ids"
    assert_right(g, those(kept, h, y) if own_mask else every(h, y), certain=certain)


def test_encoder_mask_that_is_named() -> None:
    """--mask decoder_attention_mask is what is taken anyway."""
    g, h, y, kept = token_model("decoder_attention_mask")
    assert_right(g, those(kept, h, y), mask="decoder_attention_mask")
    assert_right(g, those(kept, h, y))


# Tokens that lie time first inside the model


@pytest.mark.parametrize("tail", ["LogSoftmax", "Softmax", None])
@pytest.mark.parametrize("labelled", [True, False])
def test_mask_and_labels_of_melted_tokens(tail: str | None, labelled: bool) -> None:
    """Mask and labels fall on their own tokens where the rows lie token by token."""
    g = Graph(26)
    x, kept = embedded(g, axis=str(TOKENS)), lengths(g)
    mask = g.input("attention_mask", kept.astype(np.int64), ["B", TOKENS])
    weight = g.apply("Cast", mask, to=TensorProto.FLOAT)
    x = g.apply("Add", x, mean_of_kept(g, x, weight))
    flat = g.apply("Reshape", g.apply("Transpose", x, perm=[1, 0, 2]), np.array([-1, WIDTH]))
    h = g.hidden(flat, P)
    z = g.linear(h, C)
    end = z if tail is None else g.apply(tail, z, axis=1)
    y = g.apply("Transpose", g.apply("Reshape", end, np.array([TOKENS, -1, C])), perm=[1, 0, 2])
    g.output(y, "y", ["B", TOKENS, C])
    features, outputs = (a.value.reshape(TOKENS, ROWS, -1).transpose(1, 0, 2) for a in (h, z))
    decisions = outputs.argmax(-1)
    flipped = g.rng.random(kept.shape) < 0.2
    labels = np.where(kept, np.where(flipped, (decisions + 1) % C, decisions), -100)
    accuracy = float(np.mean(~flipped[kept]))
    assert_right(
        g,
        (features[kept], outputs[kept]),
        labels=labels if labelled else None,
        accuracy=accuracy if labelled else None,
        rows=int(kept.sum()),
    )


# Labels to ignore


def labelled_tokens(ignored: int) -> tuple[Graph, Tensor, Tensor, Array, Array, float]:
    """Tokens with labels, some of them to be ignored, and the accuracy on the others."""
    g, h, y, kept = token_model("attention_mask")
    decisions = y.value.argmax(-1)
    flipped = g.rng.random(kept.shape) < 0.2
    labels = np.where(flipped, (decisions + 1) % C, decisions)
    counted = kept & (np.arange(TOKENS) > 0)
    return g, h, y, counted, np.where(counted, labels, ignored), float(np.mean(~flipped[counted]))


def test_labels_that_are_always_ignored() -> None:
    """−100 leaves a token out, a masked one or not."""
    g, h, y, counted, labels, accuracy = labelled_tokens(-100)
    assert_right(g, those(counted, h, y), labels=labels, accuracy=accuracy, rows=int(counted.sum()))


@pytest.mark.parametrize("ignored", [-1, 255, 9])
def test_labels_that_are_named_to_be_ignored(ignored: int) -> None:
    """--ignore-label leaves out the tokens of that label."""
    g, h, y, counted, labels, accuracy = labelled_tokens(ignored)
    truth = those(counted, h, y)
    assert_right(g, truth, labels=labels, accuracy=accuracy, rows=int(counted.sum()), ignore_label=ignored)


def segmentation() -> tuple[Graph, Array, Array, Array, Array, float]:
    """Label maps of (samples, height, width) with void 255, and the rows that count."""
    g = Graph(27)
    x = g.input("image", g.rows(60, 2, 5, 4), ["N", 2, 5, 4])
    h = g.apply("Relu", g.apply("Conv", x, g.weight(P, 2, 3, 3, scale=2), g.weight(P), pads=[1, 1, 1, 1]))
    y = g.apply("Conv", h, g.weight(C, P, 1, 1), g.weight(C))
    g.output(y, "y", ["N", C, 5, 4])
    features, outputs = (np.moveaxis(a.value, 1, -1) for a in (h, y))
    decisions = outputs.argmax(-1)
    flipped = g.rng.random(decisions.shape) < 0.15
    void = g.rng.random(decisions.shape) < 0.1
    labels = np.where(void, 255, np.where(flipped, (decisions + 1) % C, decisions))
    return g, features, outputs, labels, ~void, float(np.mean(~flipped[~void]))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
@pytest.mark.parametrize("flat", [True, False])
def test_void_in_label_maps(dtype: Any, flat: bool) -> None:
    """Label maps are taken, as maps or in one axis, without their void."""
    g, features, outputs, labels, counted, accuracy = segmentation()
    maps = labels.astype(dtype)
    assert_right(
        g,
        (features[counted], outputs[counted]),
        labels=maps.reshape(len(maps), -1) if flat else maps,
        accuracy=accuracy,
        rows=int(counted.sum()),
        ignore_label=255,
    )


def test_void_that_is_not_named() -> None:
    """255 among five classes is no class without a word."""
    g, features, outputs, labels, counted, _ = segmentation()
    whole = (features.reshape(-1, P), outputs.reshape(-1, C))
    result = assert_right(
        g, (features[counted], outputs[counted]), labels=labels.reshape(len(labels), -1), certain=False,
        told=("more_classes", "--ignore-label", "255"), whole=whole,
    )  # fmt: skip
    assert (
        isinstance(result, OnnxrichError)
        or result.record.data.n == counted.sum()
        or any("255" in notice.message for notice in result.notices)
    )


@pytest.mark.parametrize("maps", [True, False])
def test_label_maps_without_void(maps: bool) -> None:
    """Label maps without anything to ignore."""
    g, features, outputs, labels, _, _ = segmentation()
    clean = np.where(labels == 255, 0, labels)
    accuracy = float(np.mean(outputs.argmax(-1) == clean))
    rows = (features.reshape(-1, P), outputs.reshape(-1, C))
    assert_right(g, rows, labels=clean if maps else clean.reshape(len(clean), -1), accuracy=accuracy)


# Types of tokens, and models inside an If


@pytest.mark.parametrize("given", [True, False])
def test_token_types(given: bool) -> None:
    """Types of tokens that the data lack are named, or zero with a word."""
    g = Graph(28)
    x, kept = embedded(g), lengths(g)
    types = g.input("token_type_ids", np.zeros((ROWS, TOKENS), np.int64), ["B", "T"])
    x = g.apply("Add", x, g.apply("Gather", g.weight(2, WIDTH), types))
    weight = g.apply("Cast", g.input("attention_mask", kept.astype(np.int64), ["B", "T"]), to=TensorProto.FLOAT)
    h = g.apply("Tanh", g.linear(g.apply("Squeeze", mean_of_kept(g, x, weight), np.array([1])), P))
    y = g.linear(h, C)
    g.output(y, "logits", ["B", C])
    if not given:
        del g.data["token_type_ids"]
    result = assert_right(g, (h.value, y.value), certain=given, remedy="token_type_ids")
    if isinstance(result, Analysis) and not given:
        assert any("token_type_ids" in notice.message for notice in result.notices)


@pytest.mark.parametrize("flag", ["use_cache_branch", "is_first_step"])
def test_model_inside_an_if(flag: str) -> None:
    """A model that lies whole inside an If: measured on the branch that runs, or refused in few words."""
    g = Graph(29)
    ids = g.input("input_ids", g.rng.integers(0, 30, (ROWS, TOKENS)), ["B", "T"])
    weights = {"table": g.weight(30, WIDTH, scale=5), "first": g.weight(WIDTH, P), "last": g.weight(P, C)}
    condition = g.input(flag, np.array([False]), [1])

    def branch(prefix: str) -> Any:
        names = {key: f"{prefix}_{key}" for key in weights}
        nodes = [
            helper.make_node("Gather", [names["table"], ids.name], [f"{prefix}_x"]),
            helper.make_node("MatMul", [f"{prefix}_x", names["first"]], [f"{prefix}_z"]),
            helper.make_node("Relu", [f"{prefix}_z"], [f"{prefix}_h"]),
            helper.make_node("MatMul", [f"{prefix}_h", names["last"]], [f"{prefix}_y"]),
        ]
        tensors = [numpy_helper.from_array(value.astype(np.float32), names[key]) for key, value in weights.items()]
        result = helper.make_tensor_value_info(f"{prefix}_y", TensorProto.FLOAT, ["B", "T", C])
        return helper.make_graph(nodes, prefix, [], [result], tensors)

    y = g.apply("If", condition, then_branch=branch("cached"), else_branch=branch("first"))
    h = np.maximum(weights["table"][ids.value] @ weights["first"], 0)
    value = h @ weights["last"]
    g.output(Tensor(y.name, value), "logits", ["B", "T", C])
    assert_right(g, (h.reshape(-1, P), value.reshape(-1, C)), certain=False)
