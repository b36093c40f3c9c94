"""An adapter of another distribution, in the files that an installer writes."""

from __future__ import annotations

from pathlib import Path

from onnxrich.frameworks.registry import GROUP

# A whole adapter of a framework whose models are lists of two arrays, W and b: f(x) = tanh(x)·W + b.
FAKE = """
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from onnxrich.frameworks.registry import converted

class Model:
    def __init__(self, W, b):
        self.W, self.b = W, b

def is_native(obj):
    return isinstance(obj, Model)

def load(path):
    return Model(np.eye(4, 3, dtype=np.float32), np.ones(3, np.float32)) if path.suffix == ".fake" else None

def batches(obj, loader):
    return converted(loader, lambda item: {"x": item[0], "labels": item[1]})

def forward(obj, given):
    return [SCALE * (np.tanh(given["x"]) @ obj.W + obj.b)]

def to_onnx(obj, example, path):
    nodes = [helper.make_node("Tanh", ["x"], ["phi"]), helper.make_node("Gemm", ["phi", "W", "b"], ["logits"])]
    tensors = [numpy_helper.from_array(obj.W, "W"), numpy_helper.from_array(obj.b, "b")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [BATCH, 3])
    graph = helper.make_graph(nodes, "fake", [x], [logits], tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return "fake 1.0"

def weights(obj):
    return {"W": obj.W, "b": obj.b}

def callback(*args, **options):
    return None

BATCH, SCALE = "N", 1.0
"""


def install(folder: Path, name: str = "fake", code: str = FAKE) -> None:
    """Write a distribution of one adapter into a folder of the path, as an installer does."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}\n")
