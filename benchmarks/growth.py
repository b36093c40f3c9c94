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

# A whole run over an iterable, of which no more is ever held than is being worked on.
STREAM = """
import sys, numpy as np, onnxrich
sys.path.insert(0, "benchmarks"); from models import mlp
rows = int(sys.argv[1])
x = np.random.default_rng(0).standard_normal((500, 64), dtype=np.float32)
batches = ({"x": x} for _ in range(rows // 500))
found = onnxrich.run(mlp((64, 512, 512, 10)), batches, device="cpu", batch_size=500)
print(found.record.runtime.seconds / rows)
"""
# Both import the same, and both run eight rows: what is compared is the patch.
LARGE = """
import sys, time, numpy as np
import onnxruntime as ort
from onnxrich.engine.runtime import Session, choose_device, usable_cores
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite
feed = {"x": np.ones((8, 64), np.float32)}
start = time.perf_counter()
"""
UNMODIFIED = (
    LARGE
    + """
options = ort.SessionOptions()
options.intra_op_num_threads = usable_cores()
ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"]).run(None, feed)
print(time.perf_counter() - start)
"""
)
PATCHED = (
    LARGE
    + """
read = read_model(sys.argv[1])
patch = rewrite.instrument(read, head.find_head(read))
live = Session([read.data, patch.data], folder=read.folder, device=choose_device("cpu"), name="large")
live.run([patch.features, *patch.accumulated], feed | patch.nothing)
print(time.perf_counter() - start)
"""
)


def large_model(folder: Path, width: int = 8192, layers: int = 9) -> Path:
    """A perceptron with 2.4 GB of weights in a file beside it, and a small head."""
    values = np.random.default_rng(0).standard_normal((width, width), dtype=np.float32) / np.sqrt(width)
    with (folder / "weights.bin").open("wb") as file:
        for _ in range(layers):
            values.tofile(file)
    size = 4 * width * width
    tensors, nodes, x = [], [helper.make_node("MatMul", ["x", "first"], ["h"])], "h"
    for layer in range(layers):
        tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", str(layer * size)), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
        nodes.append(helper.make_node("MatMul", [x, tensor.name], [f"a{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"a{layer}"], [f"h{layer}"]))
        x = f"h{layer}"
    nodes += [helper.make_node("MatMul", [x, "last"], ["phi"]), helper.make_node("MatMul", ["phi", "v"], ["y"])]
    for name, shape in (("first", (64, width)), ("last", (width, 256)), ("v", (256, 10))):
        tensors.append(numpy_helper.from_array(np.full(shape, 0.01, np.float32), name))
    values_info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 64), ("y", 10))
    ]
    graph = helper.make_graph(nodes, "large", values_info[:1], values_info[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "large.onnx")
    return folder / "large.onnx"


def rows_table(counts: tuple[int, ...], turns: int) -> None:
    """Memory of a whole run and time a row of its pass, by numbers of rows."""
    made = [{rows: measure.peak_memory(STREAM, str(rows)) for rows in counts} for _ in range(turns)]
    peaks = {rows: min(each[rows][0] for each in made) for rows in counts}
    times = {rows: min(float(each[rows][1][0]) for each in made) for rows in counts}
    few = counts[0]
    print("| rows | peak memory | ratio (goal 1.02) | time a row | ratio (goal 0.95–1.05) |")
    print("| --- | --- | --- | --- | --- |")
    for rows in counts:
        memory, time = (each[rows] / each[few] for each in (peaks, times))
        print(f"| {rows:,} | {peaks[rows] / 2**20:.0f} MiB | {memory:.3f} | {times[rows] * 1e6:.1f} µs | {time:.3f} |")
    print(flush=True)


def large_table(turns: int) -> None:
    """A patched session of a large model against one of the model as it is."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = str(large_model(Path(folder)))
        programs = {"as it is": UNMODIFIED, "patched": PATCHED}
        made = [{name: measure.peak_memory(each, path) for name, each in programs.items()} for _ in range(turns)]
    peaks = {name: min(each[name][0] for each in made) / 2**20 for name in programs}
    times = {name: min(float(each[name][1][0]) for each in made) for name in programs}
    print("| model with 2.4 GB of external weights: session and first run | as it is | patched | ratio | goal |")
    print("| --- | --- | --- | --- | --- |")
    a, b = peaks["as it is"], peaks["patched"]
    print(f"| peak memory | {a:,.0f} MiB | {b:,.0f} MiB | {b / a:.3f} | 1.05 |")
    a, b = times["as it is"], times["patched"]
    print(f"| time | {a:.2f} s | {b:.2f} s | {b / a:.3f} | 1.05 |")
    print(flush=True)


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
    parser.add_argument("--only", choices=["rows", "large", "startup"], help="one of the tables")
    given = parser.parse_args()
    counts = (10_000, 100_000) if given.quick else (10_000, 100_000, 1_000_000)
    tables = {
        "rows": lambda: rows_table(counts, 2 if given.quick else 4),
        "large": lambda: large_table(2 if given.quick else 6),
        "startup": lambda: startup_table(3 if given.quick else 7),
    }
    print(measure.machine() + "\n")
    for name, table in tables.items():
        if given.only in (None, name):
            table()


if __name__ == "__main__":
    main()
