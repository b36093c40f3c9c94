"""A head is the only one, or the one that the user chose, and its constants are checked by running."""

from __future__ import annotations

import numpy as np
import pytest
from model._heads import HIDDEN, build, rows_of

from onnxrich.errors import HeadError
from onnxrich.model.head.head import (
    UnmeasuredHead,
    affine_residual,
    allowed_residual,
    find_head,
    measure_head,
)

TWO = HIDDEN + "y = Gemm(r, w2, b2)\n z = Gemm<transB=1>(r, w2t, b2)"


def test_several_heads_are_listed() -> None:
    """Two heads are an error that names both; --outputs chooses."""
    model = build(TWO, out="float[N,3] y, float[N,3] z")
    with pytest.raises(HeadError, match="The model has 2 possible heads") as caught:
        find_head(model)
    assert "'y'" in str(caught.value)
    assert "'z'" in str(caught.value)
    assert find_head(model, outputs="z").outputs.tensor == "z"


def test_hidden_layer_as_output() -> None:
    """A model that also shows a hidden layer has one head all the same: the last."""
    model = build(HIDDEN + "y = Gemm(r, w2, b2)", out="float[N,3] y, float[N,8] h")
    assert find_head(model).outputs.tensor == "y"


def test_chosen_features() -> None:
    """A tensor that the user names is taken as it is, without the claim that W and b explain the outputs."""
    model = build(HIDDEN + "y = Gemm(r, w2, b2)")
    head = find_head(model, features="h")
    assert isinstance(head, UnmeasuredHead)
    assert (head.features.tensor, head.outputs.tensor) == ("h", "y")
    assert find_head(model, features="r").affine is not None
    assert find_head(model, features="r", number=1).affine is not None


def test_chosen_features_of_a_numbered_head() -> None:
    """A number and features that belong to no head are two answers to one question."""
    with pytest.raises(
        HeadError, match=r"Head 1 was asked for with features 'h', which belong to no head.*Leave out --head"
    ):
        find_head(build(HIDDEN + "y = Gemm(r, w2, b2)"), features="h", number=1)


def test_unknown_name() -> None:
    """A name that is not there is met with names that are like it."""
    model = build(HIDDEN + "logits = Gemm(r, w2, b2)", out="float[N,3] logits")
    with pytest.raises(HeadError, match=r"The model has no tensor 'logit'; .*'logits'"):
        find_head(model, features="logit")


def test_numbers_of_heads() -> None:
    """A number chooses one of several heads in the order of the error, and no other number."""
    model = build(TWO, out="float[N,3] y, float[N,3] z")
    assert [find_head(model, number=number).outputs.tensor for number in (1, 2)] == ["y", "z"]
    with pytest.raises(
        HeadError, match=r"There is no head 3; needed: a number from 1 to 2\. Pass one of these: \(1\) "
    ):
        find_head(model, number=3)


def test_measured_widths() -> None:
    """The shapes of a run give chosen tensors their widths: the last axis, and the channels of pooled maps."""
    chosen = find_head(build(HIDDEN + "y = Gemm(r, w2, b2)"), features="h")
    assert isinstance(chosen, UnmeasuredHead)
    assert chosen.known_widths == (0, 3)
    tokens = measure_head(chosen, (5, 7, 8), (5, 3))
    assert (tokens.p, tokens.C, tokens.kind, tokens.affine) == (8, 3, "chosen features", None)
    maps = measure_head(chosen, (5, 8, 4, 4), (5, 3))
    assert (maps.p, maps.known_widths, maps.kind) == (8, (8, 3), "chosen features (global average pooling)")
    with pytest.raises(HeadError, match=r"Tensor 'h' has shape \(5,\); needed: a tensor of shape \(rows, width\)"):
        measure_head(chosen, (5,), (5, 3))


def test_wrong_constants_are_noticed() -> None:
    """The residual of a head whose W is not the graph's is large: the check can fail."""
    model = build(HIDDEN + "y = Gemm(r, w2, b2)")
    head = find_head(model)
    x = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    features, outputs = rows_of(model, head, x)
    distance = affine_residual(head, features, outputs * 1.001)
    assert distance is not None
    assert distance > allowed_residual(head)
