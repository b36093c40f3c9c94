"""Modules in half precision: measured as a copy in float32 or as they are, and checked in the precision they have."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import onnxrich
from onnxrich.errors import AdapterError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn

ROWS = 200
# Features in bfloat16 and float16 are rounded to eps/2 of their size, in each of two layers; by D_LR they count four
# times (see test_torch), so by up to 4 · 2 · eps/2. Independent errors of 200 rows average out.
TOLERANCE = {torch.bfloat16: 4 * 2.0**-7, torch.float16: 4 * 2.0**-10}
X = torch.randn(ROWS, 12, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A hidden layer and a head, in one precision."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.head = nn.Linear(12, 16, dtype=dtype), nn.Linear(16, 5, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return self.head(torch.tanh(self.hidden(x.to(self.hidden.weight.dtype))))


class Rounded(Net):
    """Gives its outputs in float32."""

    def forward(self, x: Any) -> Any:
        return super().forward(x).float()


class Drifting(Net):
    """Gives other outputs than its ONNX model by a hundredth, more than rounding to float16 explains."""

    def forward(self, x: Any) -> Any:
        scale = 1.0 if torch.compiler.is_compiling() else self.drift
        return super().forward(x) * scale

    drift = 1.05


def truth(module: Any) -> float:
    """D_LR of what PyTorch's own hook sees, in float64."""
    seen: list[Any] = []
    handle = module.head.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    with torch.no_grad():
        module(X)
    handle.remove()
    features, outputs = (part.double().numpy() for part in seen)
    # The rank of outputs in such formats is cut as DESIGN says, at 8·eps of the format: all five directions are above.
    return oracle.d_lr(features, outputs)


@pytest.mark.parametrize("kind", [Net, Rounded])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(kind: type, dtype: Any) -> None:
    """A module in half precision has the D_LR of its own features, whatever type its inputs have."""
    module = kind(dtype)
    for rows in (X, X.to(dtype)):
        analysis = onnxrich.run(module, rows)
        assert analysis.metrics["d_lr"] == pytest.approx(truth(module), abs=TOLERANCE[dtype])
        codes = [notice.code for notice in analysis.notices]
        assert ("float32_copy" in codes) == (dtype == torch.bfloat16)
    assert {weight.dtype for weight in module.parameters()} == {dtype}


def test_recorder_of_bfloat16() -> None:
    """A recorder swaps weights in bfloat16, and says with each record that a copy was measured."""
    module = Net(torch.bfloat16)
    recorder = onnxrich.Recorder(X)
    for step in range(2):
        analysis = recorder(module, step)
        assert analysis.metrics["d_lr"] == pytest.approx(truth(module), abs=TOLERANCE[torch.bfloat16])
        codes = [notice.code for notice in analysis.notices]
        assert "float32_copy" in codes
        assert "exported_again" not in codes
        with torch.no_grad():
            module.hidden.weight.mul_(1.5)


@pytest.mark.parametrize(("dtype", "drift"), [(torch.bfloat16, 1.2), (torch.float16, 1.05), (torch.float32, 1.001)])
def test_a_difference_that_is_no_rounding(dtype: Any, drift: float) -> None:
    """An export that differs by more than the module's precision explains is refused."""
    module = Drifting(dtype)
    module.drift = drift
    with pytest.raises(AdapterError, match=r"the ONNX model of Drifting differs from torch 2\.13\.0 by"):
        onnxrich.run(module, X)


class Casts(Net):
    """Casts to bfloat16 by itself."""

    def forward(self, x: Any) -> Any:
        return self.head(torch.tanh(self.hidden(x.to(torch.bfloat16))))


class Autocast(Net):
    """Computes in bfloat16 with weights in float32."""

    def forward(self, x: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


@pytest.mark.parametrize("module", [Casts(torch.bfloat16), Autocast(torch.float32)])
def test_bfloat16_that_is_no_weight(module: Any) -> None:
    """A forward pass that computes in bfloat16 whatever its weights are is refused in words."""
    with pytest.raises(AdapterError) as caught:
        onnxrich.run(module, X)
    assert str(caught.value) == (
        f"{type(module).__name__} computes in bfloat16, and ONNX Runtime has no such operators on a CPU; needed: a "
        "model that computes in float32. Convert its weights to float32, and leave out autocast and casts to bfloat16."
    )


def test_weights_keep_their_values() -> None:
    """Weights in bfloat16 are handed over as they are, without rounding."""
    from onnxrich.frameworks.registry import find_adapter

    module = Net(torch.bfloat16)
    weights = find_adapter(module).weights(module)
    expected = module.head.weight.detach().float().numpy()
    np.testing.assert_array_equal(weights["head.weight"].astype(np.float32), expected)
