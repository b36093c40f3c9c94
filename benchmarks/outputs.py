"""Metrics of many outputs, few rows and many classes: processor time relative to a small head in the same run.

python benchmarks/outputs.py           prints a Markdown table

The baseline is a head of 64 features and 10 outputs on 256 rows. One thread, the metrics alone: no model runs.
"""

from __future__ import annotations

import resource
import time

import numpy as np
from threadpoolctl import threadpool_limits

from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import compute_curves
from onnxrich.metrics.jackknife import estimate
from onnxrich.metrics.reduction import reduce_features
from onnxrich.metrics.registry import evaluate, select
from onnxrich.moments.matrix import Array, Moments

BLOCKS = 16
# p, C, n.
BASELINE = (64, 10, 256)
SHAPES = ((64, 2_000, 256), (64, 20_000, 256), (64, 128_000, 256), (1_568, 10, 300), (1_568, 1_000, 300))


def make_blocks(p: int, C: int, n: int) -> tuple[list[Moments], Array]:
    """Moments of random rows in blocks, as a pass sums them, and W."""
    generator = np.random.default_rng(0)
    features, weight = np.maximum(generator.normal(size=(n, p)), 0), generator.normal(size=(C, p))
    shift = np.concatenate([[0.0], features.mean(axis=0), weight @ features.mean(axis=0)])
    derived = p < C
    blocks = []
    for rows in np.array_split(features, BLOCKS):
        parts = [np.ones((len(rows), 1)), rows, *([] if derived else [rows @ weight.T])]
        z = np.concatenate(parts, axis=1) - shift[: 1 + p + (0 if derived else C)]
        blocks.append(Moments(z.T @ z, shift, p, C, dtype="float32", weight=weight if derived else None))
    return blocks, weight


def metrics_seconds(p: int, C: int, n: int) -> float:
    """Processor seconds of the default metrics with intervals and curves."""
    blocks, weight = make_blocks(p, C, n)
    whole = blocks[0]
    for block in blocks[1:]:
        whole = whole.merge(block)
    start, names = time.process_time(), select()
    sample = reduce_features(Sample.from_moments(whole, blocks, weight=weight))
    evaluate(sample, names)
    estimate(sample, names)
    compute_curves(sample)
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    with threadpool_limits(1, user_api="blas"):
        metrics_seconds(*BASELINE)  # imports
        baseline = metrics_seconds(*BASELINE)
        print("| p | C | n | seconds | times the baseline | peak of the process so far, MiB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for shape in (BASELINE, *SHAPES):
            seconds = metrics_seconds(*shape)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            cells = [*(f"{size:,}" for size in shape), f"{seconds:.2f}", f"{seconds / baseline:.1f}", f"{peak:,}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
