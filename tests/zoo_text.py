"""Small models as ONNX text with weights from NumPy, and what the tests that feed them share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxrich.data.context import ImageSpec, OpenContext
from onnxrich.data.formats.registry import open_table
from onnxrich.data.open import open_source
from onnxrich.data.source import SkippedItems, Source
from onnxrich.data.table import Table
from onnxrich.errors import OnnxrichError
from onnxrich.model.file import read_model

TWO_LAYERS = "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)"


def whole(*shape: int, seed: int = 0) -> np.ndarray:
    """Whole numbers from −2 to 2 in float32: products and sums of them are exact in whatever order."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


def build(
    body: str, *, x: str = "float[N,6] x", y: str = "float[N,3] y", opset: int = 17, **weights: Any
) -> onnx.ModelProto:
    """A model with inputs `x` and outputs `y`; of the weights, those that its body names."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => ({y}) {{\n {body}\n}}'
    proto = parser.parse_model(text)
    given = {"w1": whole(6, 8, seed=1), "w2": whole(8, 3, seed=2)} | weights
    used = {name for node in proto.graph.node for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items() if name in used]
    proto.graph.initializer.extend(tensors)
    return proto


def two_layers(batch: int | str = "N", **options: Any) -> onnx.ModelProto:
    """x (6) → h (8, ReLU) → y (3), in whole numbers."""
    return build(TWO_LAYERS, x=f"float[{batch},6] x", y=f"float[{batch},3] y", **options)


def source_of(proto: onnx.ModelProto, data: Any, labels: Any = None, **options: Any) -> Source:
    """The source of some data, fitted to a model."""
    return open_source(read_model(proto), data, labels, **options)


def table_of(name: Any, max_errors: int = 0) -> Table:
    """The table of a place, whatever the model."""
    skipped = SkippedItems(max_errors)
    return open_table(str(name), lambda path: OpenContext(path, ImageSpec(), skipped))


def blocks_of(table: Table, name: str, size: int) -> Iterator[np.ndarray]:
    """One field of a table in blocks."""
    rows = table.fields[name].shape[0] if table.fields[name].shape else 1
    return (block.arrays[name] for block in table.read([name], range(rows or 0), size))


def read_all(source: Source, size: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """All rows of a source by input name, and their labels; batches have `size` rows, the last one at most."""
    batches = list(source.batches(size))
    assert [batch.rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 0 < batches[-1].rows <= size
    for batch in batches:
        assert all(len(array) == batch.rows for array in batch.inputs.values() if array.ndim)
        assert batch.labels is None or len(batch.labels) == batch.rows
    rows = {
        name: np.concatenate([batch.inputs[name] for batch in batches]) if first.ndim else first
        for name, first in batches[0].inputs.items()
    }
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return rows, np.concatenate(labels) if labels else None


@contextmanager
def refused(error: type[OnnxrichError], *parts: str) -> Iterator[None]:
    """Expects an error whose message has the three parts, and holds some texts."""
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    assert all((caught.value.found, caught.value.needed, caught.value.remedy))
    for part in parts:
        assert part in str(caught.value)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Ends what would hang."""

    def late(*_: object) -> None:
        raise TimeoutError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
