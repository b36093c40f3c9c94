"""How the benchmarks measure: two loops in one process, by turns, and the fastest of each.

Other load on the machine adds to some turns and takes from none, so the fastest ones are compared. All figures that are
quoted are ratios.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from onnxrich.data.open import open_source
from onnxrich.engine.runtime import choose_device, usable_cores
from onnxrich.engine.single_pass import measure_one
from onnxrich.engine.sizing import choose_batch_size
from onnxrich.model.file import read_model
from onnxrich.model.head import head

Work = Callable[[], object]


def timed(work: Work) -> float:
    """Seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_turns(loops: Mapping[str, Callable[[], float]], turns: int) -> dict[str, float]:
    """The fewest seconds that each loop says it took, in so many turns."""
    fastest = dict.fromkeys(loops, float("inf"))
    for _ in range(turns):
        for name, loop in loops.items():
            fastest[name] = min(fastest[name], loop())
    return fastest


def bare(model: ModelProto, x: np.ndarray[Any, Any], batch: int) -> Callable[[], float]:
    """Inference by ONNX Runtime of the unmodified model, with as many threads, its outputs fetched.

    As in `ours`, each turn has a session of its own, which has run one batch before: where its weights came to lie in
    memory makes a difference of some per cent.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.inter_op_num_threads = 1
    data = model.SerializeToString()

    def loop() -> float:
        live = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        live.run(None, {"x": x[:batch]})
        start = time.perf_counter()
        for at in range(0, len(x), batch):
            live.run(None, {"x": x[at : at + batch]})
        return time.perf_counter() - start

    return loop


def ours(model: ModelProto, x: np.ndarray[Any, Any], batch: int) -> Callable[[], float]:
    """The loop of `onnxrich run`: reading, running, summing moments in blocks, with labels; without the metrics."""
    read = read_model(model)
    found, labels = head.find_head(read), np.arange(len(x)) % 10

    def loop() -> float:
        source = open_source(read, {"x": x, "labels": labels})
        return measure_one(read, found, source, device=choose_device("cpu"), batch_size=batch).seconds

    return loop


def chosen(model: ModelProto) -> int:
    """The batch size that onnxrich takes for many rows when none is asked for."""
    read = read_model(model)
    source = replace(open_source(read, None), n=None)
    return choose_batch_size(read, head.find_head(read), source, memory="cpu")


def peak_memory(program: str, *arguments: str) -> tuple[int, list[str]]:
    """Peak resident bytes of a Python program of its own, and the lines that it prints."""
    # The high-water mark of this program alone: the one that getrusage gives counts the parent's memory too.
    tail = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    command = [sys.executable, "-c", program + tail, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, peak = done.stdout.splitlines()
    return int(peak) * 1024, lines


def machine() -> str:
    """What it ran on, in one line."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.split(":")[1].strip() for line in told if line.startswith("model name"))
    versions = f"onnxruntime {ort.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}"
    return f"{name}, {usable_cores()} cores, {versions}"
