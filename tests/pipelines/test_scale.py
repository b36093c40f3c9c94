"""Large models cost what running them costs: many nodes are searched in a moment, large weights are not read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxrich.model.file import read_model
from onnxrich.model.head import head

ROWS, WIDTH = 9_000_000, 64  # a table of 2.3 GB


def deep_model(layers: int) -> onnx.ModelProto:
    """A model of two nodes a layer."""
    nodes, tensor = [], "x"
    for layer in range(layers):
        nodes.append(helper.make_node("MatMul", [tensor, "w"], [f"a{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"a{layer}"], [f"h{layer}"]))
        tensor = f"h{layer}"
    nodes.append(helper.make_node("MatMul", [tensor, "v"], ["y"]))
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((16, 16)), "v": rng.standard_normal((16, 4))}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 16), ("y", 4))]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "deep", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def lines_run(work: Callable[[], Any]) -> int:
    """The number of lines of Python that some work runs: a measure of its cost that no other process changes."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_ten_thousand_nodes() -> None:
    """The head of a model of 10 000 nodes is found, by ten times the work that 1 000 nodes take: not by a hundred."""
    large, small = deep_model(5_000), deep_model(500)
    assert head.find_head(read_model(large)).features.tensor == "h4999"
    cost = [lines_run(lambda proto=proto: head.find_head(read_model(proto))) for proto in (small, large)]
    assert cost[1] < 12 * cost[0], cost


def table_model(folder: Path) -> Path:
    """A model that looks rows up in a table of 2.3 GB, kept in a file with holes, and has a small head behind."""
    with (folder / "table.bin").open("wb") as file:
        file.truncate(4 * ROWS * WIDTH)
        rng = np.random.default_rng(0)
        file.write(rng.standard_normal((1_000, WIDTH)).astype(np.float32).tobytes())
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[ROWS, WIDTH])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "table.bin"), ("offset", "0"), ("length", str(4 * ROWS * WIDTH))):
        table.external_data.add(key=key, value=value)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Tanh", ["e"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    v = numpy_helper.from_array(rng.standard_normal((WIDTH, 4)).astype(np.float32), "v")
    graph = helper.make_graph(nodes, "table", [ids], [y], [table, v])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "table.onnx"
    )
    return folder / "table.onnx"


PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
BARE = """
import sys, numpy as np, onnxruntime as ort
live = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
live.run(None, {"ids": np.arange(1000)})
"""
OURS = """
import sys, numpy as np, onnxrich
assert onnxrich.run(sys.argv[1], {"ids": np.arange(1000)}, device="cpu").metrics["d_lr"] is not None
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_two_gigabytes_of_weights(tmp_path: Path) -> None:
    """A model over 2 GB with external data is analysed without a copy of its weights."""
    path = table_model(tmp_path)
    peaks = []
    for program in (BARE, OURS):
        command = [sys.executable, "-c", program + PEAK, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
    bare, ours = peaks
    print(f"peak memory: bare {bare:.0f} MiB, onnxrich {ours:.0f} MiB")
    assert ours - bare < 300, peaks  # what onnx, NumPy and the sums take; the table has 2 200 MiB
