"""What summing the moments costs: the loop of `onnxrich run` against bare inference, on the same batches.

    python benchmarks/overhead.py            prints Markdown tables
    python benchmarks/overhead.py --quick    fewer rows and turns
    python benchmarks/overhead.py --sweep    widths and batch sizes instead, with the model that explains them
    python benchmarks/overhead.py --batches  time a row by batch size, and the size that is chosen

See `measure.py` for how ratios are taken.
"""

from __future__ import annotations

import argparse

import cost
import measure
import numpy as np
from models import mlp, resnet18
from onnx import ModelProto

GENERATOR = np.random.default_rng(0)


def ratio(model: ModelProto, shape: tuple[int, ...], *, rows: int, batch: int, turns: int) -> tuple[float, float]:
    """Seconds of bare inference, and those of the loop of `onnxrich run` over them."""
    x = GENERATOR.standard_normal((rows, *shape), dtype=np.float32)
    fastest = measure.by_turns({"bare": measure.bare(model, x, batch), "ours": measure.ours(model, x, batch)}, turns)
    return fastest["bare"], fastest["ours"] / fastest["bare"]


def against_bare(scale: int, turns: int) -> None:
    """The table of models."""
    print("| model | batch | rows | bare inference | onnxrich / bare | goal |\n| --- | --- | --- | --- | --- | --- |")
    small, large = 256 * scale, 32 * scale
    for name, model, shape, rows, batch, goal in (
        ("MLP 784-1024-1024-1024-10", mlp(), (784,), 10_240 * scale, 512, "1.6"),
        ("ResNet-18, 32×32", resnet18(), (3, 32, 32), small, 64, "1.03"),
        ("ResNet-18, 224×224", resnet18(224), (3, 224, 224), large, 8, "1.03"),
    ):
        seconds, over = ratio(model, shape, rows=rows, batch=batch, turns=turns)
        print(f"| {name} | {batch} | {rows:,} | {seconds:.2f} s | {over:.3f} | {goal} |", flush=True)


def sweep(scale: int, turns: int) -> None:
    """The table of widths and batch sizes, and what the work of each says that it should be."""
    print("| p | batch | onnxrich / bare | by the work |\n| --- | --- | --- | --- |")
    for p in (1024, 2048, 4096):
        widths = (784, 1024, 1024, p, 10)
        for batch in (32, 128, 512):
            _, over = ratio(mlp(widths), (784,), rows=4_096 * scale, batch=batch, turns=3)
            expected = cost.on_cpu(cost.mlp_flops(widths), cost.width(p, C=10, K=10), batch)
            print(f"| {p} | {batch} | {over:.2f} | {expected:.2f} |", flush=True)


def batches(turns: int) -> None:
    """The table of batch sizes: time a row against the best, and which size is chosen."""
    print("| model | time a row over the best, by batch size | chosen |\n| --- | --- | --- |")
    for name, model, shape, rows, sizes in (
        ("MLP 64-256-256-10", mlp((64, 256, 256, 10)), (64,), 32_768, (32, 128, 512, 2048)),
        ("MLP 784-1024-1024-1024-10", mlp(), (784,), 8_192, (32, 128, 512, 2048)),
        ("ResNet-18, 32×32", resnet18(), (3, 32, 32), 256, (8, 16, 64, 256)),
        ("ResNet-18, 224×224", resnet18(224), (3, 224, 224), 16, (1, 2, 8, 16)),
    ):
        x = GENERATOR.standard_normal((rows, *shape), dtype=np.float32)
        fastest = measure.by_turns({str(size): measure.ours(model, x, size) for size in sizes}, turns)
        best = min(fastest.values())
        told = ", ".join(f"{size}: {seconds / best:.2f}" for size, seconds in fastest.items())
        print(f"| {name} | {told} | {measure.chosen(model)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    parser.add_argument("--sweep", action="store_true", help="widths and batch sizes")
    parser.add_argument("--batches", action="store_true", help="time a row by batch size")
    options = parser.parse_args()
    print(measure.machine() + "\n")
    if options.batches:
        batches(3)
        return
    (sweep if options.sweep else against_bare)(1 if options.quick else 4, 3 if options.quick else 7)


if __name__ == "__main__":
    main()
