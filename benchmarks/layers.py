"""What measuring every layer costs: the pass with all layers against the pass with the head alone, on the same batches.

    python benchmarks/layers.py            prints a Markdown table
    python benchmarks/layers.py --quick    fewer rows

Both run in one process, by turns, and the ratio is that of the fastest of each.
"""

from __future__ import annotations

import argparse

import numpy as np
from models import mlp, resnet18
from onnx import ModelProto

import onnxrich


def compare(name: str, model: ModelProto, x: np.ndarray, *, batch: int, turns: int) -> str:
    """One row of the table."""
    proto, data = model.SerializeToString(), {"x": x, "labels": np.arange(len(x)) % 10}
    plain, deep, numbers = [], [], []
    for _ in range(turns):
        plain.append(onnxrich.run(proto, data, batch_size=batch, device="cpu").record.runtime.seconds)
        found = onnxrich.run(proto, data, batch_size=batch, device="cpu", layers="all")
        deep.append(found.record.runtime.seconds)
        numbers.append(found.record.runtime.profile["computing the layers"])
    widths = [layer.p for layer in found.layers]
    told = f"{len(widths)} ({min(widths)} to {max(widths)})"
    ratio = min(deep) / min(plain)
    return f"| {name} | {batch} | {len(x):,} | {told} | {min(plain):.2f} s | {ratio:.2f} | {min(numbers):.2f} s |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    quick = parser.parse_args().quick
    generator = np.random.default_rng(0)
    flat = generator.standard_normal((2_560 if quick else 10_240, 784), dtype=np.float32)
    images = generator.standard_normal((512 if quick else 2_048, 3, 32, 32), dtype=np.float32)
    turns = 2 if quick else 3
    print("| model | batch | rows | layers (widths) | head alone | all layers / head alone | their numbers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(compare("ResNet-18, 32×32", resnet18(), images, batch=64, turns=turns))
    print(compare("MLP 784-1024-1024-1024-10", mlp(), flat, batch=512, turns=turns))


if __name__ == "__main__":
    main()
