"""Small models in ONNX text that behave, crash, hang or fill the memory, and data for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser

ROWS = 64

# The scalar t, which is the scalar a after a loop of 150,000 years.
LOOP = (
    "t = Loop<body = body (int64 i, bool c, float a1) => (bool c2, float a2) { c2 = Identity(c)  a2 = Add(a1, a1) }>"
    "(ages, yes, a)"
)
# b is read before the loop and after it.
HELD = (
    f"r = ReduceMax<keepdims=0>(x)  s = ReduceSum<keepdims=0>(b)  q = Add(r, s)  a = Sub(q, q)  {LOOP}"
    "  e = Add(b, t)  u = ReduceMax<keepdims=0>(e)  z = Add(x, u)"
)

# What stands between the input x and the first layer, which reads z.
TROUBLE = {
    "none": "z = Identity(x)",
    # INT32_MIN ÷ −1 is a trap of the processor: while the session is being made, where the runtime folds constants …
    "crash_loading": "q = Div(least, minus)  f = Cast<to=1>(q)  z = Add(x, f)",
    # … or in a run, where the input stands in the way of folding.
    "crash_running": "s = ReduceSum<keepdims=0>(x)  i = Cast<to=6>(s)  o = Sub(i, i)  l = Add(least, o)"
    "  q = Div(l, minus)  f = Cast<to=1>(q)  z = Add(x, f)",
    # The same for a batch whose largest value is −1.
    "crash_late": "s = ReduceMax<keepdims=0>(x)  i = Cast<to=6>(s)  q = Div(least, i)  f = Cast<to=1>(q)"
    "  e = Mul(f, nought)  z = Add(x, e)",
    # 4 GiB, touched page by page, and held by an endless loop, so that they are seen however late somebody looks.
    "bomb_loading": "b = ConstantOfShape<value = float[1] {1.0}>(huge)  " + HELD,
    "bomb_running": "n = Shape(x)  o = Sub(n, n)  m = Add(o, wide)  "
    "b = ConstantOfShape<value = float[1] {1.0}>(m)  " + HELD,
    # 400 products of 4096 × 4096 matrices to fold: many minutes of native code.
    "slow_loading": "m0 = ConstantOfShape<value = float[1] {0.0}>(square)  "
    + "  ".join(f"m{i + 1} = MatMul(m{i}, m{i})" for i in range(400))
    + "  s = ReduceMax<keepdims=0>(m400)  z = Add(x, s)",
    "endless_running": f"s = ReduceMax<keepdims=0>(x)  a = Sub(s, s)  {LOOP}  z = Add(x, t)",
}

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
network (float[N, 4] x) => (float[N, 3] y)
<float[4, 6] w = {%s}, float[6, 3] v = {%s}, int32 least = {-2147483648}, int32 minus = {-1},
 int64[3] huge = {1024, 1024, 1024}, int64[2] wide = {1024, 1048576}, int64[2] square = {4096, 4096},
 float nought = {0.0}, int64 ages = {4611686018427387904}, bool yes = {1}>
{
  %s
  h = MatMul(z, w)
  phi = Relu(h)
  y = MatMul(phi, v)
}
"""


def model(folder: Path, trouble: str = "none", *, features: str = "phi") -> Path:
    """The file of a 4-6-3 network with a trouble in its middle; `features` renames its penultimate layer."""
    rng = np.random.default_rng(1)
    weights = (", ".join(map(str, rng.standard_normal(size).round(3))) for size in (24, 18))
    proto = onnx.parser.parse_model(TEXT % (*weights, TROUBLE[trouble]))
    used = {name for node in proto.graph.node for name in node.input}
    read_tensors = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(read_tensors)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            renamed = [features if name == "phi" else name for name in names]
            del names[:]
            names.extend(renamed)
    path = folder / f"{trouble}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def data(folder: Path, rows: int = ROWS) -> Path:
    """The file of rows for these models, with labels."""
    rng = np.random.default_rng(2)
    path = folder / "data.npz"
    np.savez(path, x=rng.standard_normal((rows, 4)).astype(np.float32), labels=rng.integers(0, 3, rows))
    return path


def many_rows(folder: Path) -> Path:
    """The file of ten million rows, all but the first of zeros, which take no room on the disk.

    In batches of one row they are hours of work.
    """
    path = folder / "rows.npy"
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(10_000_000, 4))
    rows[:10_000] = np.random.default_rng(3).standard_normal((10_000, 4))
    rows.flush()
    return path
