"""An adapter of another distribution, as people wrote it for onnxrich 0.1.0: models are f(x) = relu(x·V)·W + b."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


class Model:
    """A model of this framework.

    Args:
        V: array of shape (4, 5).
        W: array of shape (5, 3).
        b: array of shape (3,).
    """

    def __init__(self, V: np.ndarray, W: np.ndarray, b: np.ndarray) -> None:
        self.V, self.W, self.b = V, W, b


def at_step(step: int) -> Model:
    """The model as it is at some step of its training; all its numbers are quarters, so that sums are exact."""
    rng = np.random.default_rng(step)
    return Model(*((rng.integers(-4, 5, shape) / 4).astype(np.float32) for shape in ((4, 5), (5, 3), (3,))))


def sample() -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to measure on, with labels."""
    rng = np.random.default_rng(99)
    rows, labels = (rng.integers(-4, 5, (120, 4)) / 4).astype(np.float32), rng.integers(0, 3, 120)
    return list(zip(np.split(rows, 4), np.split(labels, 4), strict=True))


def is_native(obj: Any) -> bool:
    """Whether an object is a model of this framework."""
    return isinstance(obj, Model)


def load(path: Path) -> Model | None:
    """The model that a file holds; None where it is none of this framework's."""
    return at_step(0) if path.suffix == ".recorded" else None


def batches(obj: Any, loader: Any) -> Iterator[Mapping[str, np.ndarray]]:
    """The items of a loader by the names of the model's inputs."""
    return ({"x": item[0], "labels": item[1]} for item in loader)


def forward(obj: Any, given: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
    """The framework's own computation."""
    return [np.maximum(given["x"] @ obj.V, 0) @ obj.W + obj.b]


def to_onnx(obj: Any, example: Mapping[str, np.ndarray], path: Path) -> str:
    """Write the model to a file."""
    nodes = [
        helper.make_node("MatMul", ["x", "V"], ["a"]),
        helper.make_node("Relu", ["a"], ["phi"]),
        helper.make_node("Gemm", ["phi", "W", "b"], ["logits"]),
    ]
    tensors: Iterable[Any] = [numpy_helper.from_array(getattr(obj, name), name) for name in ("V", "W", "b")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "recorded", [x], [logits], list(tensors))
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return "recorded 1.0"


def weights(obj: Any) -> Mapping[str, np.ndarray]:
    """All parameters by the framework's names."""
    return {"V": obj.V, "W": obj.W, "b": obj.b}


def callback(*args: Any, **options: Any) -> None:
    """The framework has no trainer."""
