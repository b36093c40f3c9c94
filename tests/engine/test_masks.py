"""The mask of the rows: which input it is, where its entries lie, and what a reader is told when none is applied."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build, refused, whole

import onnxrich
from onnxrich.errors import DataError
from onnxrich.model.file import read_model
from onnxrich.model.head.head import Head, find_head
from onnxrich.model.mask import Mask
from onnxrich.model.patch.instrument import instrument

N, T, P, V = 40, 5, 3, 11
# A table of whole numbers: with the whole weights of `build`, features and outputs are exact in float32.
TABLE = np.random.default_rng(3).integers(-4, 5, (V, 6)).astype(np.float32)
W1, W2 = whole(6, 8, seed=1).astype(float), whole(8, 3, seed=2).astype(float)
IDS = np.random.default_rng(4).integers(0, V, (N, T))
MASK = (np.arange(T) < np.arange(N)[:, None] % T + 1).astype(np.int64)
OTHER = MASK[::-1].copy()
PAST = np.random.default_rng(5).standard_normal((N, 2, P, 4)).astype(np.float32)
# Multiplied by the mask, so that the runtime refuses a mask of another length, and by zero, so that no value changes.
TIED = "m = Cast<to=1>({mask})\n m3 = Reshape(m, per_token)\n z = Mul(e, m3)\n z0 = Mul(z, zero)\n c = Add(e, z0)"
CONSTANTS: dict[str, Any] = {"table": TABLE, "zero": np.float32(0), "per_token": np.array([0, -1, 1])}


def tokens(mask: str | None = None, *, name: str = "attention_mask", body: str | None = None) -> onnx.ModelProto:
    """ids (N, T) → e (6) → h (8, ReLU) → y (3) for each token, with an input for the mask.

    Args:
        mask: declaration of the mask, by default integers of shape (N, T).
        name: its name.
        body: makes c of e; by default c is e, and depends on the mask without a change of values.
    """
    declared = mask or f"int64[N,T] {name}"
    middle = TIED.format(mask=name) if body is None else body
    text = f"e = Gather(table, ids)\n {middle}\n a = MatMul(c, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(text, x=f"int64[N,T] ids, {declared}", y="float[N,T,3] y", **CONSTANTS)


def expected(kept: np.ndarray, ids: np.ndarray = IDS) -> float:
    """D_LR of the tokens that are kept, by the definition."""
    features = np.maximum(TABLE.astype(float)[ids] @ W1, 0)[kept.astype(bool)]
    return oracle.d_lr(features, features @ W2)


def run(proto: onnx.ModelProto, data: dict[str, np.ndarray], **options: Any) -> onnxrich.Analysis:
    return onnxrich.run(proto, {"ids": IDS, **data}, device="cpu", **options)


def codes(analysis: onnxrich.Analysis) -> list[str]:
    return [notice.code for notice in analysis.notices if notice.code.startswith("mask")]


def assert_kept(analysis: onnxrich.Analysis, kept: np.ndarray, mask: str | None) -> None:
    """The numbers are those of the kept rows, to the rounding of sums in double: 1e-12 of a number near 1."""
    assert analysis.metrics["d_lr"] == pytest.approx(expected(kept), abs=1e-12)
    assert analysis.record.data.n == kept.sum()
    assert analysis.record.head.mask == mask


def test_masks_differ() -> None:
    """The rows of both masks, and all rows, have other values of D_LR: the tests below can tell them apart."""
    values = [expected(kept) for kept in (MASK, OTHER, 1 - MASK, np.ones_like(MASK))]
    assert np.abs(np.subtract.outer(values, values))[~np.eye(4, dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("name", ["attention_mask", "decoder_attention_mask"])
def test_a_mask_of_known_meaning_is_taken(name: str) -> None:
    analysis = run(tokens(name=name), {name: MASK})
    assert_kept(analysis, MASK, name)
    assert codes(analysis) == []


@pytest.mark.parametrize("shape", ["N,1,T", "N,1,1,T", "N,T,1"])
@pytest.mark.parametrize("kind", ["int64", "float", "bool"])
def test_axes_of_length_one_and_types_of_a_mask_do_not_matter(shape: str, kind: str) -> None:
    dtype = {"int64": np.int64, "float": np.float32, "bool": np.bool_}[kind]
    axes = [int(size) if size.isdigit() else -1 for size in shape.split(",")]
    array = MASK.astype(dtype).reshape([N if i == 0 else T if size == -1 else 1 for i, size in enumerate(axes)])
    proto = tokens(f"{kind}[{shape}] attention_mask")
    assert_kept(run(proto, {"attention_mask": array}), MASK, "attention_mask")


@pytest.mark.parametrize("name", ["input_mask", "mask", "encoder_attention_mask", "src_key_padding_mask", "pad"])
def test_a_mask_of_unknown_meaning_is_refused_until_it_is_named(name: str) -> None:
    """Zeros may mark padding, or ones: the message names both, and each option gives its own numbers."""
    proto = tokens(name=name)
    with refused(DataError, f"'{name}' may mark padding among the 5 rows", f"--mask {name} if 0", f"--mask not:{name}"):
        run(proto, {name: MASK})
    assert_kept(run(proto, {name: MASK}, mask=name), MASK, name)
    assert_kept(run(proto, {name: MASK}, mask=f"not:{name}"), 1 - MASK, f"not:{name}")
    assert_kept(run(proto, {name: MASK}, mask="none"), np.ones_like(MASK), None)


def test_an_inverted_mask_of_booleans() -> None:
    """True marks padding, as in PyTorch's key_padding_mask."""
    proto = tokens("bool[N,T] src_key_padding_mask", name="src_key_padding_mask")
    data = {"src_key_padding_mask": MASK == 0}
    assert_kept(run(proto, data, mask="not:src_key_padding_mask"), MASK, "not:src_key_padding_mask")
    assert codes(run(proto, data, mask="src_key_padding_mask")) == ["mask_meaning"]


def test_a_possible_mask_that_leaves_nothing_out_is_named() -> None:
    """A later batch may hold padding: a notice names the input, and all rows count."""
    analysis = run(tokens("bool[N,T] valid", name="valid"), {"valid": np.ones((N, T), bool)})
    assert_kept(analysis, np.ones_like(MASK), None)
    assert codes(analysis) == ["mask_unused"]


def test_a_second_mask_is_named() -> None:
    proto = tokens("int64[N,T] attention_mask, int64[N,T] pad_mask")
    proto.graph.node.add(op_type="Identity", input=["pad_mask"], output=["seen"])
    analysis = run(proto, {"attention_mask": MASK, "pad_mask": OTHER})
    assert_kept(analysis, MASK, "attention_mask")
    assert codes(analysis) == ["mask_unused"]


SEEN = "seen = Identity(attention_mask)\n past_seen = Identity({past})\n c = Identity(e)"


@pytest.mark.parametrize(
    ("past", "shape"), [("past_key_values.0.key", "N,2,P,4"), ("cache_k", "N,2,P,4"), ("past_kv", "N,2,3,4")]
)
def test_the_last_entries_of_a_mask_belong_to_the_rows_behind_a_past(past: str, shape: str) -> None:
    """The mask of a decoder covers its past as well, which has no rows."""
    proto = tokens(f"int64[N,L] attention_mask, float[{shape}] pkv", body=SEEN.format(past="pkv"))
    for values in (proto.graph.input[2], proto.graph.node[2]):
        if isinstance(values, onnx.NodeProto):
            values.input[0] = past
        else:
            values.name = past
    before = np.zeros((N, P), np.int64)
    data = {"attention_mask": np.concatenate([before, MASK], axis=1), past: PAST}
    assert_kept(run(proto, data, batch_size=16), MASK, "attention_mask")
    inverted = run(proto, data, mask="not:attention_mask")
    assert_kept(inverted, 1 - MASK, "not:attention_mask")


def test_a_mask_of_another_length_without_a_past_is_refused() -> None:
    """Nothing says which of its entries belong to the rows."""
    proto = tokens("int64[N,L] attention_mask, float[N,2,P,4] other", body=SEEN.format(past="other"))
    data = {"attention_mask": np.concatenate([MASK[:, :P], MASK], axis=1), "other": PAST}
    with refused(DataError, "mask 'attention_mask' has 8 entries a sample, and each sample has 5 rows", "--mask none"):
        run(proto, data)
    assert_kept(run(proto, data, mask="none"), np.ones_like(MASK), None)


def pair(*, decoder_mask: bool, dims: tuple[str, str] = ("S", "T"), ids: str = "decoder_input_ids") -> onnx.ModelProto:
    """An encoder whose masked mean is added to a decoder's tokens with weight 0; the rows are the decoder's."""
    S, D = dims
    body = """
        e1 = Gather(table, input_ids)
        m1 = Cast<to=1>(attention_mask)
        m13 = Reshape(m1, per_token)
        s1 = Mul(e1, m13)
        t1 = ReduceSum(s1, axis1)
        t0 = Mul(t1, zero)"""
    own = TIED.format(mask="decoder_attention_mask") if decoder_mask else "c = Identity(e)"
    text = f"{body}\n e = Gather(table, {ids})\n {own}\n b = Add(c, t0)"
    text += "\n a = MatMul(b, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    x = f"int64[N,{S}] input_ids, int64[N,{S}] attention_mask, int64[N,{D}] {ids}"
    x += f", int64[N,{D}] decoder_attention_mask" if decoder_mask else ""
    return build(text, x=x, y=f"float[N,{D},3] y", axis1=np.array([1]), **CONSTANTS)


@pytest.mark.parametrize("dims", [("S", "T"), ("T", "T"), ("5", "5")])
def test_the_mask_of_an_encoder_is_not_put_on_decoder_rows(dims: tuple[str, str]) -> None:
    """Equal sizes prove nothing. Names, dimensions and a shorter run tell the sequences apart, whatever the exporter
    writes as dimensions."""
    data = {"input_ids": IDS[::-1].copy(), "attention_mask": OTHER, "decoder_input_ids": IDS}
    analysis = onnxrich.run(pair(decoder_mask=False, dims=dims), data, device="cpu")
    assert_kept(analysis, np.ones_like(MASK), None)
    assert codes(analysis) == ["mask_of_another_sequence"]
    with_own = data | {"decoder_attention_mask": MASK}
    analysis = onnxrich.run(pair(decoder_mask=True, dims=dims), with_own, device="cpu")
    assert_kept(analysis, MASK, "decoder_attention_mask")
    assert codes(analysis) == []


@pytest.mark.parametrize("ids", ["tgt_ids", "answer"])
def test_sequences_of_other_names_are_told_apart(ids: str) -> None:
    data = {"input_ids": IDS[::-1].copy(), "attention_mask": OTHER, ids: IDS}
    analysis = onnxrich.run(pair(decoder_mask=False, ids=ids), data, device="cpu")
    assert_kept(analysis, np.ones_like(MASK), None)
    assert codes(analysis) == ["mask_of_another_sequence"]


@pytest.mark.parametrize("length", [T, 4])
def test_the_mask_of_hidden_states_is_not_put_on_the_rows(length: int) -> None:
    """A decoder that is exported alone takes the states of an encoder, and their mask under a name of its own."""
    middle = "m = Cast<to=1>(encoder_attention_mask)\n m3 = Reshape(m, per_token)\n z = Mul(states, m3)"
    middle += "\n t = ReduceSum(z, axis1)\n t0 = Mul(t, zero)\n c = Add(e, t0)"
    proto = tokens("int64[N,S] encoder_attention_mask, float[N,S,6] states", body=middle)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis1"))
    states = TABLE[IDS[:, :length]]
    analysis = run(proto, {"encoder_attention_mask": OTHER[:, :length].copy(), "states": states})
    assert_kept(analysis, np.ones_like(MASK), None)
    assert codes(analysis) == ["mask_of_another_sequence"]


def test_the_mask_of_an_encoder_of_another_length() -> None:
    data = {"input_ids": IDS[:, :4], "attention_mask": MASK[:, :4], "decoder_input_ids": IDS}
    analysis = onnxrich.run(pair(decoder_mask=False), data, device="cpu")
    assert_kept(analysis, np.ones_like(MASK), None)
    assert codes(analysis) == ["mask_of_another_sequence"]


def test_dimensions_of_different_names_do_not_part_a_mask_from_its_rows() -> None:
    """Some exporters name the dimensions of each input anew. A run with fewer tokens fails without the mask's."""
    assert_kept(run(tokens("int64[N,mask_dim] attention_mask"), {"attention_mask": MASK}), MASK, "attention_mask")


@pytest.mark.parametrize("name", ["attention_mask", "src_mask"])
@pytest.mark.parametrize("low", [-np.inf, -1e9, -10000])
def test_an_additive_mask_is_refused(low: float, name: str) -> None:
    """It is 0 where others are 1."""
    proto = tokens(f"float[N,T] {name}", name=name, body=f"seen = Identity({name})\n c = Identity(e)")
    data = {name: np.where(MASK == 1, 0, low).astype(np.float32)}
    with refused(DataError, "is added to attention scores", "0 for padding and 1 for the rest", "--mask none"):
        run(proto, data)
    assert_kept(run(proto, data, mask="none"), np.ones_like(MASK), None)


def test_models_that_are_compared_leave_out_the_same_rows() -> None:
    """Of sequences of several lengths too, as an iterable yields them."""
    first, second = tokens(), tokens()
    w1 = next(tensor for tensor in second.graph.initializer if tensor.name == "w1")
    w1.CopyFrom(onnx.numpy_helper.from_array(whole(6, 8, seed=7), "w1"))
    parts = [{"ids": IDS[:20], "attention_mask": MASK[:20]}, {"ids": IDS[20:, :4], "attention_mask": MASK[20:, :4]}]
    comparison = onnxrich.compare([first, second], parts, device="cpu", batch_size=20)
    kept = np.concatenate([MASK[:20].ravel(), MASK[20:, :4].ravel()]).astype(bool)
    ids = np.concatenate([IDS[:20].ravel(), IDS[20:, :4].ravel()])[kept]
    embedded = TABLE.astype(float)[ids]
    phi = [np.maximum(embedded @ W1, 0), np.maximum(embedded @ whole(6, 8, seed=7).astype(float), 0)]
    assert comparison.results[0].metrics["d_lr"] == pytest.approx(oracle.d_lr(phi[0], phi[0] @ W2), abs=1e-12)
    assert comparison.similarity(0, 1).value == pytest.approx(oracle.cka(phi[0], phi[1]), abs=1e-12)


@pytest.mark.parametrize("opset", [9, 17])
def test_a_patch_reads_a_mask_whose_samples_come_second(opset: int) -> None:
    """Some models take tokens first, and their mask too."""
    import onnxruntime

    proto = build(
        "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)\n seen = Identity(mask)",
        x="float[N,T,6] x, int64[L,N] mask", y="float[N,T,3] y", opset=opset,
    )  # fmt: skip
    read = read_model(proto)
    head = find_head(read)
    assert isinstance(head, Head)
    mask = Mask("mask", inverted=True, start=P, samples_axis=1)
    patch = instrument(read, head, masked=True, mask=mask)
    session = onnxruntime.InferenceSession(read.data + patch.data)
    entries = np.concatenate([np.ones((N, P), np.int64), MASK], axis=1)
    feed = {"x": TABLE[IDS], "mask": np.ascontiguousarray(entries.T), patch.weights: np.ones((N, 1))}
    sums = patch.matrix(session.run(list(patch.accumulated), feed | patch.idle_feed))
    features = np.maximum(TABLE.astype(float)[IDS] @ W1, 0)[MASK == 0]
    np.testing.assert_array_equal(sums[0, :9], [len(features), *features.sum(axis=0)])


def pooled(name: str) -> onnx.ModelProto:
    """ids (N, T) → e (6) → h (8, ReLU) for each token; the mean over tokens → y (3) for each sample."""
    body = "e = Gather(table, ids)\n a = MatMul(e, w1)\n h = Relu(a)\n m = ReduceMean<axes=[1], keepdims=0>(h)"
    body += f"\n y = MatMul(m, w2)\n seen = Identity({name})"
    return build(body, x=f"int64[N,T] ids, int64[N,T] {name}", y="float[N,3] y", table=TABLE)


def test_a_requested_mask_applies_to_hidden_layers_of_samples() -> None:
    """Where samples are rows it leaves out none; layers of tokens are averaged over the tokens that it leaves."""
    hidden = np.maximum(TABLE.astype(float)[IDS] @ W1, 0)
    outputs = hidden.mean(axis=1) @ W2
    share = (1 - MASK) / np.maximum((1 - MASK).sum(axis=1, keepdims=True), 1)
    means = {"masked mean over tokens": np.einsum("nt,ntp->np", share, hidden), "mean over tokens": hidden.mean(axis=1)}
    masked = run(pooled("pad_mask"), {"pad_mask": MASK}, layers=("h",), mask="not:pad_mask")
    plain = run(pooled("pad_mask"), {"pad_mask": MASK}, layers=("h",))
    for analysis, kind in ((masked, "masked mean over tokens"), (plain, "mean over tokens")):
        (layer, _) = analysis.layers
        assert layer.rows == kind
        # Features in float32: 1e-5 of a number near 1.
        assert layer.metrics["d_lr"] == pytest.approx(oracle.d_lr(means[kind], outputs), abs=1e-5)
        assert codes(analysis) == ["mask_unused"]
        assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(hidden.mean(axis=1), outputs), abs=1e-5)
