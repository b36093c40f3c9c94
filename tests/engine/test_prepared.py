"""What is fed for a batch: masks are looked at in each, and some row has to be left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from zoo_text import build, refused, whole

import onnxrich
from onnxrich.engine import monitor
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
    with refused(DataError, "mask 'attention_mask' has values from 1 to 5", "0 for padding"):
        onnxrich.run(tokens(), masked(mask), batch_size=10, device="cpu")


def test_a_mask_that_leaves_no_row_is_refused() -> None:
    """Without a row there is nothing to measure."""
    with refused(DataError, "no row is left of 60 samples", "mask", "Check the mask and the labels"):
        onnxrich.run(tokens(), masked(np.zeros((SAMPLES, TOKENS), np.int64)), device="cpu")


def test_labels_that_leave_no_row_are_refused() -> None:
    """Classes below zero leave tokens out; all of them is too many."""
    labels = np.full((SAMPLES, TOKENS), -100)
    with refused(DataError, "no row is left of 60 samples", "labels to ignore or below zero"):
        onnxrich.run(tokens(), masked(np.ones((SAMPLES, TOKENS), np.int64)), labels, layers="all", device="cpu")


def test_running_d_lr_waits_for_rows_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """D_LR of masked rows alone is undefined while the pass runs, and breaks nothing."""
    monkeypatch.setattr(monitor, "D_LR_SECONDS", 0.0)
    monkeypatch.setattr(monitor, "D_LR_SHARE", 1e9)
    mask = np.ones((SAMPLES, TOKENS), np.int64)
    mask[:30] = 0
    reports = list[onnxrich.Progress]()
    # Six batches of a few rows are run in one lane, which has its sums at once.
    analysis = onnxrich.run(tokens(), masked(mask), batch_size=10, device="cpu", progress=reports.append)
    running = [report.d_lr for report in reports if report.stage == "running" and report.rows]
    assert running[:3] == [None] * 3
    assert None not in running[3:]
    assert len(running) == 6
    assert analysis.moments.n == 30 * TOKENS
