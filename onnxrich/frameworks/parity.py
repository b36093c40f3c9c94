"""Parity of an exported model with its framework: an open batch axis, and the same outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from onnxrich.engine.runtime import Session, choose_device
from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.registry import LABELS, Item
from onnxrich.model.file import Model
from onnxrich.moments.precision import EPS

# Rows that an export is made and checked with. Exporters take an axis of length 1 for a constant.
MIN_ROWS, MAX_ROWS = 2, 4
# Terms of the longest sums that are common in networks: the rounding error of a sum grows with the root of its terms.
TERMS = 4096
# Formats whose operators sum in float32, and those of ONNX by their numbers.
HALF_FORMATS = frozenset({"float16", "bfloat16"})
FORMATS = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


@dataclass(frozen=True)
class Deviation:
    """Deviation of an exported model from its framework.

    Attributes:
        error: largest distance of an output from the framework's, relative to the largest value of that output.
        allowed: largest relative distance that rounding explains.
    """

    error: float
    allowed: float

    @property
    def is_rounding(self) -> bool:
        """Whether rounding explains the deviation."""
        return self.error <= self.allowed


def example_rows(item: Item) -> Item:
    """The inputs of an item with its first 2 to 4 rows, without labels.

    Raises:
        DataError: when the item has no rows.
    """
    inputs = {name: array for name, array in item.items() if name != LABELS}
    count = next((len(array) for array in inputs.values() if array.ndim), 0)
    return _take_rows(inputs, min(max(count, MIN_ROWS), MAX_ROWS))


def _take_rows(inputs: Item, count: int) -> Item:
    """The first rows, repeated where there are too few; arrays of another length are kept whole."""
    available = next((len(array) for array in inputs.values() if array.ndim), 0)
    if not available:
        raise DataError("an item of the data has no rows", "at least one row", "Pass data with rows.")
    index = np.arange(count) % available
    return {name: array[index] if array.ndim and len(array) == available else array for name, array in inputs.items()}


def check_batch_axis(model: Model, rows: Item) -> None:
    """Check that the batch axis of each input is symbolic.

    Exporters silently drop the symbol where the model's code holds a number.

    Raises:
        AdapterError: when a batch axis has a fixed size.
    """
    sizes = {entry.name: entry.shape[0] for entry in model.inputs if entry.shape and rows[entry.name].ndim}
    fixed = next(((name, size) for name, size in sizes.items() if isinstance(size, int)), None)
    if fixed is not None:
        raise AdapterError(
            f"input {fixed[0]!r} of the exported model takes only batches of {fixed[1]} rows",
            "an open batch size",
            "Use x.shape[0], x.flatten(1) or -1 in place of a number of rows in the model's forward pass.",
        )


def measure_deviation(
    model: Model, forward: Callable[[Item], Sequence[NDArray[Any]]], rows: Item, *, types: Iterable[np.dtype[Any]] = ()
) -> Deviation:
    """Compare the outputs of an exported model with the framework's on three batch sizes.

    Each of N operators rounds sums of up to 4096 terms, which errs by about √4096·eps (Higham & Mary 2019, theorem
    2.4), and independent errors of N operators add up to √N times that. Operators in half precision sum in float32
    and round the result, which errs by the eps of their format.

    Args:
        model: the exported model.
        forward: the framework's own computation.
        rows: some rows of the inputs.
        types: types of the framework's weights.

    Raises:
        AdapterError: when the framework has another number of outputs.
    """
    session = Session([model.data], folder=model.folder, device=choose_device("cpu"), name=model.path)
    names = [value.name for value in model.proto.graph.output]
    size = max(len(array) for array in rows.values() if array.ndim)
    error, formats = 0.0, {dtype.name for dtype in types} | float_formats(model.proto)
    for count in (size, size + 1, 1):
        batch = _take_rows(rows, count)
        outputs, expected = session.run(names, batch), forward(batch)
        if len(expected) != len(names):
            raise AdapterError(
                f"the exported model of {model.path} has {len(names)} outputs, and the framework's {len(expected)}",
                "the same outputs",
                "Return only tensors from its forward pass, and write no state in it.",
            )
        for output, own in zip(outputs, expected, strict=True):
            if own.dtype.name not in EPS:
                continue
            formats |= {output.dtype.name, own.dtype.name}
            error = max(error, _relative_distance(output, own.astype(np.float64)))
    nodes = len(model.proto.graph.node)
    halves = [EPS[name] for name in formats & HALF_FORMATS]
    return Deviation(error, math.sqrt(TERMS * nodes) * EPS["float32"] + math.sqrt(nodes) * max(halves, default=0.0))


def float_formats(proto: ModelProto) -> set[str]:
    """Names of the formats that a graph stores and computes reals in: those of weights, inputs, outputs and casts."""
    graph = proto.graph
    types = [tensor.data_type for tensor in graph.initializer]
    types += [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    casts = [node.attribute for node in graph.node if node.op_type == "Cast"]
    types += [entry.i for attributes in casts for entry in attributes if entry.name == "to"]
    return {name for number, name in FORMATS.items() if number in types}


def _relative_distance(output: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest distance relative to the largest expected value; infinite for another shape or no finite value."""
    if output.shape != expected.shape:
        return math.inf
    if not expected.size:
        return 0.0
    scale = float(np.abs(expected).max()) or 1.0
    distance = float(np.abs(output.astype(np.float64) - expected).max()) / scale
    return distance if math.isfinite(distance) else math.inf
