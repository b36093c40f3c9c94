"""What is fed for a batch: masks are looked at in each, and some row has to be left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from zoo_text import build, refused, whole

import onnxrich
from onnxrich.engine import monitor as looking
from onnxrich.errors import DataError

SAMPLES, TOKENS = 60, 4
X = whole(SAMPLES, TOKENS, 6)


def tokens() -> onnx.ModelProto:
    """x (6) → h (8, ReLU) → y (3) for each token, and a mask."""
    body = "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)\n seen = Identity(attention_mask)"
    x, y = "float[N,T,6] x, int64[N,T] attention_mask", "float[N,T,3] y"
    return build(body, x=x, y=y)


def masked(mask: np.ndarray) -> dict[str, np.ndarray]:
    """The samples with a mask."""
    return {"x": X, "attention_mask": mask}


def test_a_mask_that_weighs_rows_in_a_later_batch_is_refused() -> None:
    """Another value than 0 and 1 would count a row several times: each batch is looked at, not the first alone."""
    mask = np.ones((SAMPLES, TOKENS), np.int64)
    mask[30, 2] = 5
    with refused(DataError, "mask 'attention_mask' with values from 1 to 5", "0 for padding"):
        onnxrich.run(tokens(), masked(mask), batch_size=10, device="cpu")


def test_a_mask_that_leaves_no_row_is_refused() -> None:
    """Without a row there is nothing to measure."""
    with refused(DataError, "no row is left of 60 samples", "mask", "Check the mask and the labels"):
        onnxrich.run(tokens(), masked(np.zeros((SAMPLES, TOKENS), np.int64)), device="cpu")


def test_labels_that_leave_no_row_are_refused() -> None:
    """Classes below zero leave tokens out; all of them is too many."""
    labels = np.full((SAMPLES, TOKENS), -100)
    with refused(DataError, "no row is left of 60 samples", "labels below zero"):
        onnxrich.run(tokens(), masked(np.ones((SAMPLES, TOKENS), np.int64)), labels, layers="all", device="cpu")


def test_a_look_at_masked_rows_alone_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the running result before any row counts has nothing to tell, and breaks nothing."""
    monkeypatch.setattr(looking, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(looking, "LOOK_SHARE", 1e9)
    mask = np.ones((SAMPLES, TOKENS), np.int64)
    mask[:30] = 0
    looks = list[onnxrich.Progress]()
    found = onnxrich.run(tokens(), masked(mask), batch_size=10, device="cpu", progress=looks.append)
    told = [look.d_lr for look in looks if look.stage == "running" and look.rows]
    assert told[:3] == [None] * 3
    assert None not in told[3:]
    assert len(told) == 6
    assert found.moments.n == 30 * TOKENS
