"""Against what is done today: features of all rows to the host, then n × n kernels, as the definition of D_LR reads.

    python benchmarks/today.py            n = 10 240, prints a Markdown table
    python benchmarks/today.py --rows N

The baseline is a script of its own, below: the penultimate layer exposed as an output of the same ONNX model, run by
ONNX Runtime with as many threads, features and outputs kept in NumPy arrays, kernels and centring by n × n matrices in
double: once as the formula reads, by products with H, and once by taking means off. A hook in a training framework does
the same work, with the framework's own inference in place of ONNX Runtime's, which is not faster. All sides are whole
programs, from the start of the interpreter to the printed D_LR.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
import onnx
from models import mlp

BASELINE = """
import sys, numpy as np, onnx, onnxruntime as ort
folder, features = sys.argv[1:]
model = onnx.load(f"{folder}/model.onnx")
model.graph.output.append(onnx.helper.make_empty_tensor_value_info(features))
live = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
x = np.load(f"{folder}/x.npy")
parts = [live.run([features, "logits"], {"x": x[i : i + 512]}) for i in range(0, len(x), 512)]
phi, f = (np.concatenate(each).astype(np.float64) for each in zip(*parts))
n = len(phi)
u, s, _ = np.linalg.svd(f, full_matrices=False)
u = u[:, s > 1e-6 * s[0]]
K, P = phi @ phi.T, u @ u.T
%s
print(1 - np.sum(K * P) / np.linalg.norm(K) / np.linalg.norm(P))
"""
# HKH, as the formula reads and as public implementations of CKA have it; or the same numbers by taking means off.
BY_PRODUCTS = "H = np.eye(n) - 1 / n; K, P = H @ K @ H, H @ P @ H"
BY_MEANS = """
for kernel in (K, P):
    kernel -= kernel.mean(axis=0, keepdims=True)
    kernel -= kernel.mean(axis=1, keepdims=True)
"""
# The definition's D_LR and nothing else: curves, spectra and intervals are no part of it. With 0 blocks there can be no
# intervals; 16 are the default.
OURS = """
import sys, numpy as np
from onnxrich.data import open as sources
from onnxrich.engine.runtime import choose_device
from onnxrich.engine.single_pass import measure_one
from onnxrich.model import file as model
from onnxrich.model.head import head
from onnxrich.metrics.richness import from_moments
read = model.read(f"{sys.argv[1]}/model.onnx")
source = sources.open_source(read, f"{sys.argv[1]}/x.npy")
made = measure_one(read, head.find(read), source, device=choose_device("cpu"), batch_size=512, blocks=int(sys.argv[2]))
print(from_moments(made.moments).d_lr)
"""


def measured(program: str, *arguments: str) -> tuple[float, int, float]:
    """Seconds, peak bytes and D_LR of a program."""
    start = time.perf_counter()
    peak, (printed,) = measure.peak_memory(program, *arguments)
    return time.perf_counter() - start, peak, float(printed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_240, metavar="N")
    parser.add_argument("--turns", type=int, default=3, metavar="N")
    options = parser.parse_args()
    model = mlp()
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "model.onnx")
        x = np.random.default_rng(0).standard_normal((options.rows, 784), dtype=np.float32)
        np.save(Path(folder) / "x.npy", x)
        features = model.graph.node[-1].input[0]
        sides = {
            "today, centred by means": (BASELINE % BY_MEANS, features),
            "D_LR": (OURS, "0"),
            "with blocks": (OURS, "16"),
        }
        turns = [
            {name: measured(program, folder, given) for name, (program, given) in sides.items()}
            for _ in range(options.turns)
        ]
        # A minute long: once is enough.
        literal = measured(BASELINE % BY_PRODUCTS, folder, features)
    fastest = {name: [min(turn[name][i] for turn in turns) for i in range(3)] for name in sides}
    old, old_peak, value = fastest["today, centred by means"]
    fastest = {"today, as the formula reads": list(literal)} | fastest
    assert all(abs(value - made[2]) < 1e-5 for made in fastest.values()), fastest
    print(measure.machine() + "\n")
    print(f"| n = {options.rows:,} | seconds | formula over it | means over it | peak memory | means over it |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (seconds, peak, _) in fastest.items():
        times = f"{seconds:.2f} | {literal[0] / seconds:.1f} | {old / seconds:.1f}"
        print(f"| {name} | {times} | {peak / 2**20:,.0f} MiB | {old_peak / peak:.1f} |")
    print(f"\nD_LR {value:.9f} and {fastest['D_LR'][2]:.9f}")


if __name__ == "__main__":
    main()
