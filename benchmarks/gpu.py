"""The same on a GPU: inputs and sums stay on the device, and one loop is held against the other.

    python benchmarks/gpu.py                         CUDA, prints a Markdown table
    python benchmarks/gpu.py --device cpu --quick    small models on the CPU: that the script runs, no measurement

Bare inference is the unmodified model with input and output bound to the device. The patched model runs on the same
input, with its sums bound to the device as well, as `onnxrich run` binds them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import measure
import numpy as np
import onnxruntime as ort
from models import half, mlp, resnet50, vit
from onnx import ModelProto

from onnxrich.engine.runtime import Device, Session, choose_device, usable_cores
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite


def options() -> ort.SessionOptions:
    """As `onnxrich` sets them."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = usable_cores()
    made.log_severity_level = 4
    return made


def loop(live: ort.InferenceSession, bind: Callable[[ort.IOBinding], None], runs: int) -> Callable[[], float]:
    """Seconds of so many runs, waited for."""

    def work() -> float:
        start = time.perf_counter()
        binding = live.io_binding()
        for _ in range(runs):
            bind(binding)
            live.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return time.perf_counter() - start

    work()
    return work


def ratio(
    model: ModelProto, shape: tuple[int, ...], device: Device, *, batch: int, runs: int, turns: int
) -> tuple[float, float]:
    """Seconds a row of bare inference, and the time of the patched model over it."""
    x = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
    place = lambda array: ort.OrtValue.ortvalue_from_numpy(array, device.memory, device.numbers[0])  # noqa: E731
    resident = place(x)
    read = read_model(model)
    patch = rewrite.instrument(read, head.find_head(read), memory=device.memory)
    plain = ort.InferenceSession(read.data, options(), providers=[(device.provider, dict(device.options))])
    patched = Session([read.data, patch.data], folder=None, device=device, name="model").inference_session
    sums = [[place(np.zeros(size)) for size in patch.shapes] for _ in range(2)]
    shift = place(np.zeros((1, patch.edges[-1])))

    def bind_plain(binding: ort.IOBinding) -> None:
        binding.bind_ortvalue_input("x", resident)
        binding.bind_output("logits", device.memory, device.numbers[0])

    def bind_patched(binding: ort.IOBinding) -> None:
        bind_plain(binding)
        binding.bind_ortvalue_input(patch.shift, shift)
        for names, values, act in (
            (patch.accumulators, sums[0], binding.bind_ortvalue_input),
            (patch.accumulated, sums[1], binding.bind_ortvalue_output),
        ):
            for name, value in zip(names, values, strict=True):
                act(name, value)
        sums.reverse()

    fastest = measure.by_turns(
        {"bare": loop(plain, bind_plain, runs), "ours": loop(patched, bind_patched, runs)}, turns
    )
    return fastest["bare"] / runs / batch, fastest["ours"] / fastest["bare"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small models, few runs")
    given = parser.parse_args()
    device = choose_device(given.device)
    side, depth, runs = (32, 2, 2) if given.quick else (224, 12, 50)
    print(measure.machine() + f", on {given.device}\n")
    print("| model | batch | bare, µs a row | onnxrich / bare | goal |\n| --- | --- | --- | --- | --- |")
    for name, make, shape, batch in (
        ("ResNet-50, float32", lambda: resnet50(side), (3, side, side), 64),
        ("ResNet-50, float16", lambda: half(resnet50(side)), (3, side, side), 128),
        ("ViT-B/16, float32", lambda: vit(side, layers=depth), (3, side, side), 64),
        ("ViT-B/16, float16", lambda: half(vit(side, layers=depth)), (3, side, side), 128),
        ("MLP 784-1024-1024-1024-10", mlp, (784,), 4096),
    ):
        size = min(batch, 8) if given.quick else batch
        row, over = ratio(make(), shape, device, batch=size, runs=runs, turns=2 if given.quick else 5)
        print(f"| {name} | {size} | {1e6 * row:.1f} | {over:.3f} | 1.05 |", flush=True)


if __name__ == "__main__":
    main()
