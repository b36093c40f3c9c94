"""The work of summing moments, counted: flops, bytes, seconds. docs/SCALE.md explains each formula and its assumptions.

Everything follows from a few numbers of a model, its flops a row, p features, C outputs, K targets, and from the rates
of a device. `python benchmarks/cost.py` prints the tables of docs/SCALE.md; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from onnxrich.engine.sizing import choose_batches_per_product
from onnxrich.model.patch.products import tile_edges


@dataclass(frozen=True)
class Device:
    """Rates that products of large matrices reach.

    Attributes:
        name: of the device.
        model: flops a second of the model, in the arithmetic that it is run in.
        double: flops a second of a product in double.
        bytes: a second, of what passes over tables and sums.
        link: bytes a second from the host.
        memory: kind of its memory, which decides the tiles.
    """

    name: str
    model: float
    double: float
    bytes: float
    link: float = float("inf")
    memory: str = "cuda"


@dataclass(frozen=True)
class Task:
    """A model and its data.

    Attributes:
        name: of both.
        rows: number of rows: images, or tokens.
        flops: of the model, a row.
        p: number of features.
        C: number of outputs.
        K: number of targets, 0 without labels.
        input: bytes of a row as it is fed.
    """

    name: str
    rows: int
    flops: float
    p: int
    C: int
    K: int
    input: float


# Two cores of the machine that benchmarks/RESULTS.md names: measured, float32.
TWO_CORES = Device("two CPU cores", model=320e9, double=150e9, bytes=37e9, memory="cpu")
# From the data sheets: float16 or bfloat16 on tensor cores, double as the device has it, memory, PCIe; at 40 % of the
# peak for the model, half of it for products in double and for memory, which are plain.
H100 = Device("H100 SXM", model=0.4 * 989e12, double=0.5 * 67e12, bytes=0.5 * 3.35e12, link=50e9)
A100 = Device("A100 SXM", model=0.4 * 312e12, double=0.5 * 19.5e12, bytes=0.5 * 2.0e12, link=25e9)
RTX_4090 = Device("RTX 4090", model=0.4 * 165e12, double=0.5 * 1.29e12, bytes=0.5 * 1.01e12, link=25e9)

TASKS = (
    Task("CIFAR-10, ResNet-18", 60_000, 1.11e9, 512, 10, 10, 3 * 32 * 32),
    Task("ImageNet-1k, ResNet-50", 1_281_167, 8.2e9, 2048, 1000, 1000, 3 * 224 * 224),
    Task("ImageNet-21k, ViT-B/16", 14_197_122, 35.1e9, 768, 21_841, 0, 3 * 224 * 224),
    Task("language model, 8 billion", 10_000_000, 16e9, 4096, 128_256, 0, 8),
)


def width(p: int, *, C: int, K: int) -> int:
    """d, the width of what is summed: a one, features, outputs where they are no more than features, targets."""
    return 1 + p + (C if p >= C else 0) + K


def host_bytes(p: int, *, C: int, K: int) -> int:
    """Bytes of the moments on the host: what is summed, and W where the outputs follow from the features."""
    return 8 * (width(p, C=C, K=K) ** 2 + (C * p if p < C else 0))


def share(d: int, memory: str = "cuda") -> float:
    """The share of the d × d product that is computed: of b × b tiles those on and above the diagonal."""
    b = len(tile_edges(d, memory)) - 1
    return (b + 1) / (2 * b)


def product_flops(d: int, memory: str = "cuda") -> float:
    """Flops in double, a row."""
    return 2 * d * d * share(d, memory)


def table_bytes(d: int) -> float:
    """Bytes that lay a row out: transposed and cut in float, cast and shifted in double."""
    return d * ((4 + 4) + (4 + 4) + (4 + 8) + (8 + 8))


def sum_bytes(d: int, memory: str = "cuda") -> float:
    """Bytes that one product moves, however few rows it adds: sums copied, then read and written."""
    return 4 * 8 * d * d * share(d, memory)


def bytes_held(d: int, blocks: int = 1, lanes: int = 1, memory: str = "cuda") -> float:
    """Bytes on the device: the sums of each block, and a spare set for each lane."""
    return 8 * d * d * share(d, memory) * (blocks + lanes)


def seconds_a_row(device: Device, d: int, rows_a_product: int) -> float:
    """What summing costs a row."""
    moved = table_bytes(d) + sum_bytes(d, device.memory) / rows_a_product
    return product_flops(d, device.memory) / device.double + moved / device.bytes


def on_cpu(flops: float, d: int, batch: int) -> float:
    """Time of a run against that of the model alone, on two cores."""
    rows = batch * choose_batches_per_product(batch, d, n=None, blocks=None)
    return 1 + seconds_a_row(TWO_CORES, d, rows) * TWO_CORES.model / flops


def mlp_flops(widths: Sequence[int]) -> float:
    """Flops of a multilayer perceptron, a row."""
    return 2.0 * sum(a * b for a, b in pairwise(widths))


def hours(task: Task, device: Device, rows_a_product: int = 4096) -> tuple[float, float]:
    """Hours of the model alone on one device, fed over its link, and those of the model with its moments."""
    alone = max(task.flops / device.model, task.input / device.link)
    summing = seconds_a_row(device, width(task.p, C=task.C, K=task.K), rows_a_product)
    return alone * task.rows / 3600, (alone + summing) * task.rows / 3600


def work_table() -> str:
    """The work of each task."""
    lines = [
        "| task | rows | model, flops a row | d | product, flops a row | input | sums on the device | on the host |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for task in TASKS:
        d, on_host = width(task.p, C=task.C, K=task.K), host_bytes(task.p, C=task.C, K=task.K)
        lines.append(
            f"| {task.name} | {task.rows:,} | {task.flops:.3g} | {d:,} | {product_flops(d):.3g} | "
            f"{task.rows * task.input / 1e9:,.1f} GB | {bytes_held(d) / 1e9:,.3f} GB | "
            f"{on_host / 1e9:,.3f} GB |"
        )
    return "\n".join(lines)


def hours_table() -> str:
    """Hours of each task on one device."""
    lines = ["| task | device | hours, model alone | hours, with moments | ratio |", "| --- | --- | --- | --- | --- |"]
    for task in TASKS:
        for device in (H100, A100, RTX_4090):
            alone, both = hours(task, device)
            lines.append(f"| {task.name} | {device.name} | {alone:.3g} | {both:.3g} | {both / alone:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(work_table(), hours_table(), sep="\n\n")
