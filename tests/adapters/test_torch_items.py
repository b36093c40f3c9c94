"""Items of PyTorch's loaders: inputs and targets by the number of inputs, rows joined, no labels dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import onnxrich
from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.registry import find_adapter

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn, data = torch.nn, torch.utils.data

ROWS = 120
# Two float32 runtimes differ in features and outputs by up to δ = 1e-5 of their size (measured: 1e-6); see test_torch.
THROUGH_FLOAT32 = 4e-5


def autoencoder() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 12))


def classifier() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def rows() -> tuple[Any, Any, Any]:
    """Inputs, targets of the same shape, and classes."""
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(ROWS, 12, generator=generator), 3 * torch.randn(ROWS, 12, generator=generator) + 1
    return x, target, torch.arange(ROWS) % 3


def truth(model: Any, x: Any) -> tuple[float, np.ndarray]:
    """D_LR of what PyTorch's own hook sees, in float64, and the outputs."""
    seen: list[Any] = []
    handle = model[-1].register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    with torch.no_grad():
        model(x)
    handle.remove()
    features, outputs = (part.double().numpy() for part in seen)
    return oracle.d_lr(features, outputs), outputs


class Unbounded(data.Dataset):
    """Rows that no index ends."""

    def __init__(self, *columns: Any) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Any:
        return tuple(column[index % ROWS] for column in self.columns)


class Stream(data.IterableDataset):
    """Rows one after the other."""

    def __iter__(self) -> Any:
        return zip(*(column for column in (rows()[0], rows()[2])), strict=True)


x, target, classes = rows()
PAIRS = {
    "tuple": lambda: (x, target),
    "tuple in a list": lambda: [(x, target)],
    "list in a list": lambda: [[x, target]],
    "nested": lambda: [((x,), target)],
    "generator": lambda: (pair for pair in [(x[:70], target[:70]), (x[70:], target[70:])]),
    "TensorDataset": lambda: data.TensorDataset(x, target),
    "Dataset": lambda: Unbounded(x, target),
    "DataLoader": lambda: data.DataLoader(data.TensorDataset(x, target), batch_size=32),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_inputs_and_targets_of_one_shape(kind: str) -> None:
    """The targets of an autoencoder are no further samples, however the pair comes."""
    model = autoencoder()
    analysis = onnxrich.run(model, PAIRS[kind]())
    assert analysis.record.data.n == ROWS
    assert analysis.metrics["d_lr"] == pytest.approx(truth(model, x)[0], abs=THROUGH_FLOAT32)
    items = list(find_adapter(model).batches(model, PAIRS[kind]()))
    np.testing.assert_array_equal(np.concatenate([item["labels"] for item in items]), target.numpy())


def test_a_pair_for_a_recorder() -> None:
    """A recorder reads a pair as `run` does, and the item of a loader that may be two batches is refused."""
    model = autoencoder()
    assert onnxrich.Recorder((x, target))(model, 0).record.data.n == ROWS
    item = next(iter(data.DataLoader(data.TensorDataset(x, target), batch_size=ROWS)))
    with pytest.raises(
        AdapterError, match=r"which may be batches, or inputs and targets.*Pass the tuple \(x, target\)"
    ):
        onnxrich.run(model, item)
    assert onnxrich.run(classifier(), [x, classes]).record.data.n == ROWS


ROW_KINDS = {
    "TensorDataset": lambda: data.TensorDataset(x, classes),
    "Dataset": lambda: Unbounded(x, classes),
    "Subset": lambda: data.Subset(Unbounded(x, classes), range(ROWS)),
    "IterableDataset": lambda: Stream(),
    "list": lambda: [(row, int(label)) for row, label in zip(x, classes, strict=True)],
    "mappings": lambda: [{"input": row, "label": label} for row, label in zip(x, classes, strict=True)],
}


@pytest.mark.parametrize("kind", ROW_KINDS)
def test_rows_in_place_of_batches(kind: str) -> None:
    """A data set in place of a loader, and single rows, are read row by row."""
    model = classifier()
    analysis = onnxrich.run(model, ROW_KINDS[kind]())
    expected, outputs = truth(model, x)
    assert analysis.record.data.n == ROWS
    assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=THROUGH_FLOAT32)
    assert analysis.metrics["accuracy"] == pytest.approx((outputs.argmax(1) == classes.numpy()).mean())


@pytest.mark.parametrize("key", ["labels", "label", "y", "target"])
def test_labels_in_mappings(key: str) -> None:
    """Labels under a usual key are found, others by their name; a wrong name is refused with the keys there are."""
    model = classifier()
    items = [{"input": x[:50], key: classes[:50]}, {"input": x[50:], key: classes[50:]}]
    accuracy = (truth(model, x)[1].argmax(1) == classes.numpy()).mean()
    named = onnxrich.run(model, items, labels=key)
    assert named.metrics["accuracy"] == pytest.approx(accuracy)
    with pytest.raises(DataError, match=rf"an item of the data holds 'input', '{key}', and no 'targets'"):
        onnxrich.run(model, items, labels="targets")
    with pytest.raises(DataError, match=rf"an item of the data holds 'input', '{key}', and no 'targets'"):
        onnxrich.run(model, items[0], labels="targets")
    if key != "target":
        assert onnxrich.run(model, items).metrics["accuracy"] == pytest.approx(accuracy)


def test_rows_of_different_shapes() -> None:
    """Rows that no batch can hold are refused."""
    with pytest.raises(DataError, match=r"rows of the data have shapes \(11,\) and \(12,\) for 'input'"):
        onnxrich.run(classifier(), [(x[0], 1), (x[1, :11], 2)])
