"""Inputs that the data lack: which are filled in, with what, and what stays an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import build, read_all, refused, source_of, whole

import onnxrich
from onnxrich.errors import DataError

N, T, P, V = 20, 5, 2, 9
RANDOM = np.random.default_rng(6)
TABLE = RANDOM.integers(-3, 4, (V, 6)).astype(np.float32)
IDS = RANDOM.integers(0, V, (N, T))
RIGHT = (np.arange(T) < np.arange(N)[:, None] % T + 1).astype(np.int64)
POSITIONS = np.broadcast_to(np.arange(T), (N, T)).copy()
PAST = RANDOM.integers(-2, 3, (N, 2, P, 4)).astype(np.float32)
FULL = {
    "input_ids": IDS,
    "attention_mask": np.ones((N, T), np.int64),
    "position_ids": POSITIONS,
    "token_type_ids": np.zeros((N, T), np.int64),
    "past_key_values.0.key": np.zeros((N, 2, 0, 4), np.float32),
}


def decoder(*inputs: str, past: str = "float[N,2,P,4]", positions: str = "int64[N,T]") -> onnx.ModelProto:
    """Tokens, positions and types are looked up, and the sum of the past is added; y (3) for each token."""
    body = """
        e = Gather(table, input_ids)
        q = Gather(table, position_ids)
        s = Gather(table, token_type_ids)
        eq = Add(e, q)
        eqs = Add(eq, s)
        k = ReduceSum(pkv, axes)
        k3 = Reshape(k, sums)
        c = Add(eqs, k3)
        seen = Identity(attention_mask)
        a = MatMul(c, w1)
        h = Relu(a)
        y = MatMul(h, w2)"""
    x = f"int64[N,T] input_ids, int64[N,L] attention_mask, {positions} position_ids, int64[N,T] token_type_ids"
    x = ", ".join((x, f"{past} pkv", *inputs))
    proto = build(
        body, x=x, y="float[N,T,3] y", table=TABLE, axes=np.array([1, 2, 3]), sums=np.array([-1, 1, 1])
    )  # fmt: skip
    proto.graph.input[4].name = proto.graph.node[5].input[0] = "past_key_values.0.key"
    return proto


def filled(analysis: onnxrich.Analysis) -> str:
    return " ".join(notice.message for notice in analysis.notices if notice.code == "inputs_filled_in")


@pytest.mark.parametrize(
    "missing",
    [
        ["past_key_values.0.key"],
        ["position_ids", "past_key_values.0.key"],
        ["token_type_ids"],
        ["attention_mask", "position_ids", "token_type_ids", "past_key_values.0.key"],
    ],
)
def test_inputs_of_known_value_are_filled_in(missing: list[str]) -> None:
    """The rows are those of data that hold the same values, and a notice names each input."""
    present = {name: array for name, array in FULL.items() if name not in missing}
    read, _ = read_all(source_of(decoder(), present), 7)
    for name, array in FULL.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    whole_data, analysis = (onnxrich.run(decoder(), data, device="cpu") for data in (FULL, present))
    np.testing.assert_array_equal(analysis.moments.matrix, whole_data.moments.matrix)
    assert filled(whole_data) == ""
    assert all(repr(name) in filled(analysis) for name in missing)


def test_a_mask_that_is_filled_in_says_that_padding_is_unknown() -> None:
    data = {name: array for name, array in FULL.items() if name != "attention_mask"}
    assert "padding is unknown" in filled(onnxrich.run(decoder(), data, device="cpu"))


def test_positions_and_masks_count_a_past() -> None:
    """Behind two tokens of a past, positions begin at 2, and the mask covers four and three tokens."""
    data = {"input_ids": IDS, "token_type_ids": FULL["token_type_ids"], "past_key_values.0.key": PAST}
    read, _ = read_all(source_of(decoder(), data), 8)
    np.testing.assert_array_equal(read["position_ids"], POSITIONS + P)
    np.testing.assert_array_equal(read["attention_mask"], np.ones((N, P + T), np.int64))


def test_positions_of_tokens_that_are_padded_left_are_unknown() -> None:
    data = {"input_ids": IDS, "attention_mask": RIGHT[:, ::-1].copy()}
    with refused(DataError, "lack 'position_ids', and tokens are padded before the first one", "cumsum"):
        onnxrich.run(decoder(), data, device="cpu")
    data["attention_mask"] = RIGHT
    assert "'position_ids'" in filled(onnxrich.run(decoder(), data, device="cpu"))


def test_the_branch_of_a_past_is_not_taken_without_one() -> None:
    for shape in ("", "[1]"):
        proto = decoder(f"bool{shape} use_cache_branch")
        proto.graph.node.add(op_type="Identity", input=["use_cache_branch"], output=["branch"])
        data = {name: array for name, array in FULL.items() if name != "past_key_values.0.key"}
        batch = next(source_of(proto, data).batches(4))
        assert not batch.inputs["use_cache_branch"].any()
        assert "'use_cache_branch': false" in filled(onnxrich.run(proto, data, device="cpu"))
        with refused(DataError, "nothing for 'use_cache_branch'"):
            source_of(proto, FULL | {"past_key_values.0.key": PAST})


@pytest.mark.parametrize("past", ["float[N,2,P,D]", "float[N,2,3,4]", "float[M,P,4]"])
def test_a_past_of_unknown_shape_is_an_error(past: str) -> None:
    """Two free axes, or none: nothing says what an empty past would be. The last one has a single free axis."""
    data = {"input_ids": IDS}
    proto = decoder(past=past)
    if past == "float[M,P,4]":
        assert next(source_of(proto, data).batches(4)).inputs["past_key_values.0.key"].shape == (4, 0, 4)
        return
    with refused(DataError, "nothing for 'past_key_values.0.key'"):
        source_of(proto, data)


def test_inputs_without_a_known_value_are_named_alone() -> None:
    proto = decoder("float[N,T,6] prompt_embeds")
    proto.graph.node.add(op_type="Identity", input=["prompt_embeds"], output=["prompt"])
    with refused(DataError, "nothing for 'prompt_embeds'; needed"):
        source_of(proto, {"input_ids": IDS})
    with refused(DataError, "nothing for 'input_ids', 'attention_mask'"):
        source_of(proto, {"prompt_embeds": whole(N, T, 6)})


def test_an_iterable_is_filled_in_too() -> None:
    items: list[dict[str, Any]] = [{"input_ids": IDS[start : start + 3]} for start in range(0, N, 3)]
    analysis = onnxrich.run(decoder(), items, device="cpu", batch_size=8)
    np.testing.assert_array_equal(
        analysis.moments.matrix, onnxrich.run(decoder(), FULL, device="cpu", batch_size=8).moments.matrix
    )
    assert filled(analysis).count("position_ids") == 1


def test_made_up_rows_have_no_past() -> None:
    analysis = onnxrich.run(decoder(), device="cpu")
    assert analysis.record.data.synthetic
    assert "'past_key_values.0.key': no past" in filled(analysis)


@pytest.mark.parametrize("positions", ["int64[N,T]", "int64[1,T]"])
def test_one_row_of_positions_stands_for_all_samples(positions: str) -> None:
    """As exporters save it, whether the model takes a row for each sample or one for all."""
    data = FULL | {"position_ids": POSITIONS[:1]}
    analysis = onnxrich.run(decoder(positions=positions), data, device="cpu")
    np.testing.assert_array_equal(analysis.moments.matrix, onnxrich.run(decoder(), FULL, device="cpu").moments.matrix)
    with refused(DataError, "different numbers of rows", "2 of 'position_ids'"):
        source_of(decoder(), data | {"position_ids": POSITIONS[:2]})
