"""The same on the CPU and, where there is one, on a GPU: numbers, bits, and who runs what is appended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import oracle
import pytest
from onnx import TensorProto, helper, numpy_helper
from zoo_text import build

import onnxrich
from onnxrich.engine import checkpoint
from onnxrich.engine.runtime import Session, choose_device, cuda_missing
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

WITHOUT = cuda_missing()
GPU = pytest.param("cuda", marks=pytest.mark.skipif(WITHOUT is not None, reason=f"no GPU: {WITHOUT}"))
DEVICES = ["cpu", GPU]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((640, 3, 12, 12)).astype(np.float32)
Y = RNG.integers(0, 5, 640)
# The half has 11 bits: the features of a network of it are off by some thousandths.
WITHIN = {np.float32: 1e-4, np.float16: 2e-2}


def network(dtype: type = np.float32) -> onnx.ModelProto:
    """Two convolutions, the mean over positions, and a head of five classes."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    rng = np.random.default_rng(1)
    shapes = {"k1": (16, 3, 3, 3), "k2": (24, 16, 3, 3), "w": (24, 5), "b": (5,)}
    weights = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    body = "a = Conv(c, k1)\n r = Relu(a)\n s = Conv(r, k2)\n t = Relu(s)\n m = GlobalAveragePool(t)\n"
    body = (
        f"c = Cast<to = {kind}>(x)\n{body} h = Flatten(m)\n l = Gemm(h, w, b)\n y = Cast<to = {TensorProto.FLOAT}>(l)"
    )
    tensors = {name: value.astype(dtype) for name, value in weights.items()}
    return build(body, x="float[N,3,12,12] x", y="float[N,5] y", **tensors)


def exact(dtype: type) -> float:
    """D_LR by its definition, of the network's features, computed in double from its weights."""
    k1, k2, w, b = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in network(dtype).graph.initializer)
    phi = np.maximum(convolved(np.maximum(convolved(X, k1), 0), k2), 0).mean(axis=(2, 3))
    return oracle.d_lr(phi, phi @ w + b)


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What `Conv` gives, without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), kernel.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_d_lr_is_that_of_the_definition(device: str, dtype: type) -> None:
    """Whatever the device and the model's type, up to what that rounds."""
    analysis = onnxrich.run(network(dtype), X, Y, device=device, batch_size=64)
    assert analysis.metrics["d_lr"] == pytest.approx(exact(dtype), abs=WITHIN[dtype])
    assert analysis.record.runtime.device == device


@pytest.mark.parametrize("device", DEVICES)
def test_the_device_runs_what_is_appended(device: str) -> None:
    """Of the patch, no product and no conversion of rows is left to another provider."""
    read = read_model(network())
    chosen = choose_device(device)
    patch = rewrite.instrument(read, head.find_head(read), K=5, with_tallies=True, memory=chosen.memory)
    session = Session([read.data, patch.data], folder=None, device=chosen, name="network").inference_session
    elsewhere = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != chosen.provider
        for node in part.get_nodes()
    }
    assert not elsewhere & {"Gemm", "MatMul", "FusedMatMul", "Transpose", "Split", "Sub", "Add", "Conv", "ArgMax", "If"}


@pytest.mark.parametrize("device", DEVICES)
def test_a_pass_that_broke_off_gives_the_same_bits(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are the same to the bit, whole or gone on with from a checkpoint."""

    def batches(last: int) -> Iterator[dict[str, np.ndarray]]:
        for at in range(0, len(X), 32):
            if at // 32 == last:
                raise KeyboardInterrupt
            yield {"x": X[at : at + 32], "labels": Y[at : at + 32]}

    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SAVE_SHARE", 1e9)
    saved = tmp_path / "saved"
    with pytest.raises(KeyboardInterrupt):
        onnxrich.run(network(), batches(14), device=device, batch_size=32, checkpoint=saved)
    resumed = onnxrich.run(network(), batches(-1), device=device, batch_size=32, checkpoint=saved)
    assert 0 < resumed.record.runtime.resumed < len(X)
    whole = onnxrich.run(network(), batches(-1), device=device, batch_size=32)
    np.testing.assert_array_equal(resumed.moments.matrix, whole.moments.matrix)


@pytest.mark.skipif(WITHOUT is not None, reason=f"no GPU: {WITHOUT}")
def test_a_batch_that_the_gpu_does_not_hold_is_run_in_parts() -> None:
    """Of a GiB, 8 000 rows that take 400 kB each on the way are too many; each counts once all the same."""
    body = "f = ReduceMax<axes = [1]>(x)\n z = Expand(f, s)\n q = Mul(z, z)\n m = ReduceMax<axes = [1]>(q)\n"
    body += "u = Mul(x, m)\n a = MatMul(u, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    rows = RNG.standard_normal((8000, 6)).astype(np.float32)
    limited = {"provider": f"cuda:gpu_mem_limit={1 << 30}", "batch_size": 8000}
    analysis = onnxrich.run(build(body, s=np.array([1, 100_000])), rows, **limited)
    assert analysis.moments.n == 8000
    assert "batch_halved" in {notice.code for notice in analysis.notices}
