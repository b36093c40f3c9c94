"""Without a linear layer behind the outputs no head is guessed."""

from __future__ import annotations

import pytest
from model._heads import HIDDEN, build

from onnxrich.errors import HeadError
from onnxrich.model.head.head import find_head

REFUSED = {
    "computed weight": ("w = Relu(w2)\n y = MatMul(r, w)", "computed from the input"),
    "residual sum": (
        "f = Gemm(r, w2, b2)\n q = MatMul(x, w6)\n s = Tanh(q)\n y = Add(f, s)",
        "acts on the model's input",
    ),
    "no layer before": ("y = MatMul(x, w6)", "there is no layer before it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    """Without one linear layer behind the outputs there is an error that says why and what to type."""
    body, reason = REFUSED[case]
    model = build(HIDDEN + body)
    with pytest.raises(HeadError) as caught:
        find_head(model)
    assert reason in str(caught.value)
    assert "--features NAME" in caught.value.remedy
    assert "MatMul: --features 'r'" in caught.value.remedy or "MatMul: --features 'x'" in caught.value.remedy
