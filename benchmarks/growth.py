"""What doesn't grow: memory and time a row from 10⁴ to 10⁶ rows, the cost of a patch on a large model, start-up.

python benchmarks/growth.py            prints Markdown tables
python benchmarks/growth.py --quick    10⁵ rows in place of 10⁶
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import measure
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onnxrich

# An MLP over an iterable, of which no more is ever held than is being worked on.
STREAM = """
import sys, numpy as np, onnxrich
from onnxrich import head, model, session, sources, stream
sys.path.insert(0, "benchmarks"); from models import mlp
rows = int(sys.argv[1])
x = np.random.default_rng(0).standard_normal((500, 64), dtype=np.float32)
read = model.read(mlp((64, 512, 512, 10)))
source = sources.open_source(read, ({"x": x} for _ in range(rows // 500)), None, 0)
print(stream.run(read, head.find(read), source, device=session.choose("cpu"), batch=500).seconds / rows)
"""
# Both import the same, and both run 1 000 rows: what is compared is the patch.
LARGE = """
import sys, time, numpy as np
from onnxrich import head, model, rewrite, session
feed = {"ids": np.arange(1000)}
start = time.perf_counter()
device = session.choose("cpu")
"""
UNMODIFIED = (
    LARGE
    + """
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = session.usable_cores()
ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"]).run(None, feed)
print(time.perf_counter() - start)
"""
)
PATCHED = (
    LARGE
    + """
read = model.read(sys.argv[1])
patch = rewrite.instrument(read, head.find(read))
live = session.Session([read.data, patch.data], folder=read.folder, device=device, name="large")
live.run([patch.features, *patch.accumulated], feed | patch.nothing)
print(time.perf_counter() - start)
"""
)
ALONE = """
import sys, numpy as np, onnxruntime as ort
ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"]).run(None, {"ids": np.arange(1000)})
print(0)
"""


def large_model(folder: Path, rows: int = 9_400_000, width: int = 64) -> Path:
    """A model with a table of 2.4 GB in a file beside it, of which few rows are read, and a small head behind."""
    with (folder / "table.bin").open("wb") as file:
        file.truncate(4 * rows * width)
        file.write(np.random.default_rng(0).standard_normal((1_000, width)).astype(np.float32).tobytes())
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[rows, width])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "table.bin"), ("offset", "0"), ("length", str(4 * rows * width))):
        table.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Tanh", ["e"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    v = np.random.default_rng(1).standard_normal((width, 4)).astype(np.float32)
    graph = helper.make_graph(nodes, "large", [ids], [y], [table, numpy_helper.from_array(v, "v")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "large.onnx")
    return folder / "large.onnx"


def rows_table(many: int, turns: int) -> None:
    """Memory and time a row, of few rows and of many."""
    few = 10_000
    runs = {rows: [measure.peak_memory(STREAM, str(rows)) for _ in range(turns)] for rows in (few, many)}
    peaks = {rows: min(peak for peak, _ in made) for rows, made in runs.items()}
    times = {rows: min(float(lines[0]) for _, lines in made) for rows, made in runs.items()}
    print(f"| {many:,} rows against {few:,} | ratio | goal |\n| --- | --- | --- |")
    print(f"| peak memory ({peaks[many] / 2**20:.0f} MiB) | {peaks[many] / peaks[few]:.3f} | 1.02 |")
    print(f"| time a row ({times[many] * 1e6:.1f} µs) | {times[many] / times[few]:.3f} | 0.95–1.05 |\n", flush=True)


def large_table(turns: int) -> None:
    """A patched session of a large model against one of the model as it is."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = str(large_model(Path(folder)))
        runs = {
            name: [measure.peak_memory(program, path) for _ in range(turns)]
            for name, program in (("as it is", UNMODIFIED), ("patched", PATCHED), ("alone", ALONE))
        }
    peaks = {name: min(peak for peak, _ in made) / 2**20 for name, made in runs.items()}
    times = {name: min(float(lines[0]) for _, lines in made) for name, made in runs.items()}
    print("| model with 2.4 GB of external weights: session and 1 000 rows | as it is | patched | ratio | goal |")
    print("| --- | --- | --- | --- | --- |")
    a, b = peaks["as it is"], peaks["patched"]
    print(f"| peak memory | {a:.1f} MiB | {b:.1f} MiB | {b / a:.3f} | 1.05 |")
    a, b = times["as it is"], times["patched"]
    print(f"| time | {1e3 * a:.1f} ms | {1e3 * b:.1f} ms | {b / a:.2f} | 1.05 |")
    print(f"\nA program that imports onnxruntime and NumPy alone: {peaks['alone']:.1f} MiB.\n", flush=True)


def startup_table(turns: int) -> None:
    """Starts of the command against that of NumPy."""
    command = str(Path(sys.executable).with_name("onnxrich"))
    tiny = [command, "run", str(onnxrich.demo_file("rich.onnx")), "--data", str(onnxrich.demo_file("evaluation.npz"))]
    programs = {
        'python -c "import numpy"': [sys.executable, "-c", "import numpy"],
        "onnxrich --help": [command, "--help"],
        "onnxrich run, small model": tiny,
        "onnxrich run --in-process, small model": [*tiny, "--in-process"],
    }

    def start(arguments: list[str]) -> float:
        return measure.timed(lambda: subprocess.run(arguments, capture_output=True, check=True))

    fastest = measure.by_turns({name: lambda a=a: start(a) for name, a in programs.items()}, turns)
    base = fastest['python -c "import numpy"']
    print('| start-up | seconds | against python -c "import numpy" | goal |\n| --- | --- | --- | --- |')
    for name, goal in zip(programs, ("", "3", "15", "15"), strict=True):
        print(f"| {name} | {fastest[name]:.2f} s | {fastest[name] / base:.1f} | {goal} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns")
    quick = parser.parse_args().quick
    print(measure.machine() + "\n")
    rows_table(100_000 if quick else 1_000_000, 2 if quick else 3)
    large_table(2 if quick else 5)
    startup_table(3 if quick else 7)


if __name__ == "__main__":
    main()
