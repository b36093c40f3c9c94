"""What knowing D_LR costs: the whole analysis against bare inference of the unmodified model, on the same batches.

    python benchmarks/overhead.py            prints a Markdown table
    python benchmarks/overhead.py --quick    fewer rows

Both loops run in one process, by turns, and the ratio is that of the fastest of each: other load on the machine adds to
some turns and takes from none. Bare inference is ONNX Runtime with the same threads, its outputs fetched.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from models import mlp, resnet18
from onnx import ModelProto

import onnxrich
from onnxrich import session


def bare(model: ModelProto, x: np.ndarray, batch: int) -> Callable[[], object]:
    """A loop of inference over the rows."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = session.usable_cores()
    live = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def loop() -> None:
        for start in range(0, len(x), batch):
            live.run(None, {"x": x[start : start + batch]})

    return loop


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, model: ModelProto, x: np.ndarray, batch: int, turns: int) -> str:
    """One row of the table."""
    base, data = bare(model, x, batch), {"x": x, "labels": np.arange(len(x)) % 10}
    proto = model.SerializeToString()
    bare_times, loop_times, whole_times = [], [], []
    base()
    for _ in range(turns):
        bare_times.append(timed(base))
        start = time.perf_counter()
        analysis = onnxrich.run(proto, data, batch_size=batch, device="cpu")
        whole_times.append(time.perf_counter() - start)
        loop_times.append(analysis.record.runtime.seconds)
    loop, whole = min(loop_times) / min(bare_times), min(whole_times) / min(bare_times)
    return f"| {name} | {batch} | {len(x):,} | {min(bare_times):.2f} s | {loop:.2f} | {whole:.2f} |"


def peak_memory(rows: int) -> int:
    """Peak resident bytes of a process that analyses so many rows of an MLP from an iterable."""
    program = (
        "import sys, numpy as np; sys.path.insert(0, 'benchmarks')\n"
        "import onnxrich; from models import mlp\n"
        "x = np.random.default_rng(0).standard_normal((500, 64), dtype=np.float32)\n"
        f"onnxrich.run(mlp((64, 128, 128, 10)).SerializeToString(), ({{'x': x}} for _ in range({rows} // 500)),"
        " device='cpu', batch_size=500)\n"
        # The high-water mark of this program alone: the one that getrusage gives counts the parent's memory too.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def startup(arguments: list[str], turns: int) -> float:
    """Seconds of the fastest of some starts of a program."""
    return min(timed(lambda: subprocess.run(arguments, capture_output=True, check=True)) for _ in range(turns))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    quick = parser.parse_args().quick
    generator = np.random.default_rng(0)
    flat = generator.standard_normal((2_560 if quick else 10_240, 784), dtype=np.float32)
    images = generator.standard_normal((128 if quick else 512, 3, 32, 32), dtype=np.float32)
    turns = 3 if quick else 5
    print(
        f"{platform.processor() or platform.machine()}, {session.usable_cores()} cores, onnxruntime {ort.__version__}\n"
    )
    print("| model | batch | rows | bare inference | accumulation / bare | whole run / bare |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(compare("MLP 784-1024-1024-1024-10", mlp(), flat, 512, turns))
    print(compare("ResNet-18, 32×32", resnet18(), images, 64, turns))
    few, many = (10_000, 200_000) if quick else (10_000, 1_000_000)
    small, large = peak_memory(few), peak_memory(many)
    print(f"\npeak memory, {many:,} rows against {few:,}: {large / small:.3f} ({large / 2**20:.0f} MiB)")
    numpy = startup([sys.executable, "-c", "import numpy"], turns)
    command = str(Path(sys.executable).with_name("onnxrich"))
    tiny = [command, "run", str(onnxrich.demo_file("rich.onnx")), "--data", str(onnxrich.demo_file("evaluation.npz"))]
    for name, arguments in {
        "onnxrich --help": [command, "--help"],
        "onnxrich run, small model": tiny,
        "the same, --in-process": [*tiny, "--in-process"],
    }.items():
        print(f"{name} / python -c 'import numpy' ({numpy:.2f} s): {startup(arguments, turns) / numpy:.1f}")


if __name__ == "__main__":
    main()
