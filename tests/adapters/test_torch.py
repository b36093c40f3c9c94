"""PyTorch: modules are measured through ONNX as PyTorch itself computes them, and exported as they are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import find_adapter

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn
ROWS, CLASSES = 240, 5

# Two float32 runtimes differ in features and outputs by up to δ = 1e-5 of their size (measured: 1e-6). Each kernel is
# quadratic in them, so it moves by 2δ, and 1 − CKA, a product of two kernels of norm one, by 4δ at most.
THROUGH_FLOAT32 = 4e-5


class Mlp(nn.Module):
    """Three layers with batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 24), nn.Tanh()
        )
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x))


class Cnn(nn.Module):
    """Two convolutions with batch normalisation, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, image: Any) -> Any:
        hidden = torch.relu(self.norm(self.first(image)))
        return self.head(torch.relu(self.second(hidden)).mean(dim=(2, 3)))


class Transformer(nn.Module):
    """An encoder layer over tokens; the mean of those that are no padding is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(30, 16), nn.Parameter(torch.randn(1, 9, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, tokens: Any, mask: Any) -> Any:
        hidden = self.encoder(self.embed(tokens) + self.place, src_key_padding_mask=mask == 0)
        weight = mask.unsqueeze(2).float()
        return self.head((hidden * weight).sum(1) / weight.sum(1))


def inputs_of(kind: type) -> tuple[Any, ...]:
    """Rows that a model takes."""
    if kind is Mlp:
        return (torch.randn(ROWS, 12),)
    if kind is Cnn:
        return (torch.randn(ROWS, 1, 8, 8),)
    lengths = torch.randint(3, 10, (ROWS, 1))
    return torch.randint(0, 30, (ROWS, 9)), (torch.arange(9) < lengths).long()


def trained(kind: type) -> tuple[Any, tuple[Any, ...], Any]:
    """A model after some steps of training, in training mode, its rows and their labels."""
    torch.manual_seed(0)
    model, inputs, labels = kind(), inputs_of(kind), torch.randint(0, CLASSES, (ROWS,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(*inputs), labels).backward()
        optimizer.step()
    return model, inputs, labels


def hooked(model: Any, inputs: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What PyTorch's own hook sees before the head, and behind it, in evaluation mode and in float64."""
    seen: list[Any] = []
    handle = model.head.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    model.eval()
    with torch.no_grad():
        model(*inputs)
    model.train()
    handle.remove()
    features, outputs = (part.double().numpy() for part in seen)
    return features, outputs


def loader(inputs: tuple[Any, ...], labels: Any) -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*inputs, labels), batch_size=50)


@pytest.mark.parametrize("kind", [Mlp, Cnn, Transformer])
def test_parity(kind: type) -> None:
    """A module and a DataLoader give the D_LR of PyTorch's own features; the module stays in training mode."""
    model, inputs, labels = trained(kind)
    model.head.eval()
    analysis = onnxrich.run(model, loader(inputs, labels))
    assert [part.training for part in (model, model.head)] == [True, False]
    features, outputs = hooked(model, inputs)
    assert analysis.record.head.p == features.shape[1]
    assert analysis.record.data.n == ROWS
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)
    expected = oracle.d_lr_centered(features, outputs)
    assert analysis.metrics["d_lr_centered"] == pytest.approx(expected, abs=THROUGH_FLOAT32)
    assert analysis.metrics["accuracy"] == pytest.approx((outputs.argmax(1) == labels.numpy()).mean())


class Sum(Mlp):
    """Takes two inputs."""

    def forward(self, a: Any, b: Any) -> Any:
        return self.head(self.body(a + b))


def test_kinds_of_items() -> None:
    """Tuples, nested tuples, mappings, tensors with labels apart, and a one-shot iterator say the same."""
    torch.manual_seed(0)
    model, a, b, labels = Sum(), torch.randn(ROWS, 12), torch.randn(ROWS, 12), torch.randint(0, CLASSES, (ROWS,))
    nested = [((a[:100], b[:100]), labels[:100]), ((a[100:], b[100:]), labels[100:])]
    flat = [(*inputs, marks) for inputs, marks in nested]
    named = {"a": a, "b": b, "labels": labels, "name": np.array(["x"] * ROWS)}
    metrics = [onnxrich.run(model, *data).metrics for data in ((iter(nested),), ({"a": a, "b": b}, labels))]
    # The same rows in other batches: sums in another order.
    assert metrics[0]["d_lr"] == pytest.approx(metrics[1]["d_lr"], abs=1e-6)
    assert metrics[0]["accuracy"] == metrics[1]["accuracy"] is not None
    for loader in (nested, flat, iter(flat), [named], named):
        items = list(find_adapter(model).batches(model, loader))
        for name, whole in (("a", a), ("b", b), ("labels", labels)):
            np.testing.assert_array_equal(np.concatenate([item[name] for item in items]), whole.numpy())
        assert all(set(item) == {"a", "b", "labels"} for item in items)


def test_random_numbers_of_a_loader() -> None:
    """A loader that draws random numbers draws new ones for each item, and leaves PyTorch's own as they were."""

    class Draws:
        def __iter__(self) -> Any:
            return (torch.rand(2, 12) for _ in range(3))

    model = Mlp()
    before = torch.get_rng_state()
    drawn = np.concatenate([item["x"] for item in find_adapter(model).batches(model, Draws())])
    assert len(np.unique(drawn)) == drawn.size
    assert torch.equal(torch.get_rng_state(), before)


def test_items_that_fit_nothing() -> None:
    """Items of too many or too few parts are named, and so is a module without data."""
    rows = torch.zeros(4, 12)
    with pytest.raises(AdapterError, match=r"an item has 1 parts for the inputs a, b"):
        onnxrich.run(Sum(), [(rows,)])
    with pytest.raises(AdapterError, match=r"an item has 4 parts for the inputs a, b"):
        onnxrich.run(Sum(), [(rows, rows, rows, rows)])
    with pytest.raises(AdapterError, match=r"Sum comes without data; .*Pass a DataLoader"):
        onnxrich.run(Sum())


def test_export(tmp_path: Path) -> None:
    """Names of inputs and weights are PyTorch's, the batch size is open, and the distance is that of rounding."""
    model, inputs, labels = trained(Cnn)
    result = onnxrich.export(model, tmp_path / "cnn.onnx", (*inputs, labels), step=3)
    proto = onnx.load(result.path)
    assert (result.inputs, result.outputs, result.framework) == (("image",), ("output",), "torch 2.13.0")
    assert result.error < 1e-5
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {"head.weight", "head.bias"} <= {tensor.name for tensor in proto.graph.initializer}
    assert {entry.key: entry.value for entry in proto.metadata_props}["onnxrich.step"] == "3"


def test_one_row_is_enough(tmp_path: Path) -> None:
    """An example of one row gives an open batch size too, though exporters take an axis of length 1 for a constant."""
    result = onnxrich.export(Mlp(), tmp_path / "mlp.onnx", torch.randn(1, 12))
    assert onnx.load(result.path).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


class Fixed(Mlp):
    """Holds its batch size."""

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).reshape(4, 24))


class Noisy(Mlp):
    """Gives other outputs each time."""

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x) + 0.1 * torch.randn_like(x[:, :1]))


class Named(Mlp):
    """Gives a mapping, as many do."""

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return {"logits": self.head(hidden), "extra": (hidden, None)}


@pytest.mark.parametrize(
    ("kind", "message"),
    [(Fixed, r"takes only batches of 4 rows"), (Noisy, r"the ONNX model of Noisy differs from torch 2\.13\.0 by")],
)
def test_exports_that_are_refused(tmp_path: Path, kind: type, message: str) -> None:
    """A batch size inside the model, and outputs that change by themselves, are errors and leave no file."""
    with pytest.raises(AdapterError, match=message):
        onnxrich.export(kind(), tmp_path / "model.onnx", torch.randn(4, 12))
    assert list(tmp_path.iterdir()) == []


def test_outputs_keep_their_names(tmp_path: Path) -> None:
    """Outputs are called as in the mapping that the module returns."""
    result = onnxrich.export(Named(), tmp_path / "model.onnx", torch.randn(4, 12))
    assert result.outputs == ("logits", "extra_0")


def program(path: Path) -> tuple[Any, tuple[Any, ...]]:
    """An exported program of a trained model in a file."""
    model, inputs, _ = trained(Mlp)
    model.eval()
    axes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, tuple(part[:4] for part in inputs), dynamic_shapes=axes)
    torch.export.save(exported, path)
    return exported, inputs


def test_exported_program(tmp_path: Path) -> None:
    """A `.pt2` file, and the program itself, export by their own example and compute what PyTorch computes."""
    exported, inputs = program(tmp_path / "mlp.pt2")
    result = onnxrich.export(tmp_path / "mlp.pt2", tmp_path / "mlp.onnx")
    assert (result.inputs, result.framework) == (("x",), "torch 2.13.0")
    expected = onnxrich.run(exported, inputs[0]).metrics["d_lr"]
    d_lr = onnxrich.run(tmp_path / "mlp.onnx", inputs[0].numpy()).metrics["d_lr"]
    assert d_lr == pytest.approx(expected, abs=1e-6)  # the same model exported twice


@pytest.mark.parametrize("rows", [1, 4])
def test_program_of_a_fixed_batch(rows: int, tmp_path: Path) -> None:
    """A `.pt2` file that takes batches of one size alone says so at once, with what to type in PyTorch."""
    model, inputs, _ = trained(Mlp)
    torch.export.save(torch.export.export(model.eval(), tuple(part[:rows] for part in inputs)), tmp_path / "mlp.pt2")
    message = f"the program takes only batches of {rows} rows; needed: an open batch size. Export it again with"
    with pytest.raises(AdapterError, match=message):
        onnxrich.export(tmp_path / "mlp.pt2", tmp_path / "mlp.onnx")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], extra: str | None = None) -> None:
    """A copy of an archive with other records."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        if extra is not None:
            new.writestr(extra, b"code")


class Boom:
    """What a pickle can do to who loads it."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("loaded"),)


def saved(obj: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    return buffer.getvalue()


HOSTILE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "example inputs": ("sample_inputs/model.pt", lambda _: saved(Boom()), "example inputs that only pickle reads"),
    "pickled weights": (
        "weights_config.json", lambda old: old.replace(b'"use_pickle": false', b'"use_pickle": true', 1),
        "pickled weights",
    ),
    "operator": (
        "models/model.json", lambda old: old.replace(b"torch.ops.aten.linear.default", b"torch.hub.load", 1),
        r"the operator 'torch\.hub\.load'",
    ),
    "size": (
        "models/model.json", lambda old: old.replace(b"Symbol(", b"exec(", 1), r"the size \"?'?.*exec\(",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """What PyTorch would run code to read is refused before PyTorch sees it."""
    monkeypatch.chdir(tmp_path)
    program(tmp_path / "good.pt2")
    record, change, message = HOSTILE[what]

    def changed(name: str, content: bytes) -> bytes:
        return change(content) if name.endswith(record) else content

    rewritten(tmp_path / "good.pt2", tmp_path / "bad.pt2", changed)
    assert (tmp_path / "bad.pt2").read_bytes() != (tmp_path / "good.pt2").read_bytes()
    with pytest.raises(AdapterError, match=message):
        onnxrich.export("bad.pt2", "model.onnx")
    assert not Path("loaded").exists()


def test_compiled_programs_are_refused(tmp_path: Path) -> None:
    """An archive with a compiled library, or with nothing of a program, is refused."""
    program(tmp_path / "good.pt2")
    library = "good/data/aotinductor/model/model.so"
    rewritten(tmp_path / "good.pt2", tmp_path / "bad.pt2", lambda _, content: content, library)
    with pytest.raises(AdapterError, match=r"the record 'data/aotinductor/model/model\.so'"):
        onnxrich.export(tmp_path / "bad.pt2", tmp_path / "model.onnx")
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(
        AdapterError, match=r"text\.pt2 can't be read: RuntimeError: .*a file that torch\.export\.save wrote"
    ):
        onnxrich.export(tmp_path / "text.pt2", tmp_path / "model.onnx")


def test_weights_by_name() -> None:
    """Weights are those of the state dict, as arrays."""
    model = Mlp()
    weights = find_adapter(model).weights(model)
    assert set(weights) == set(model.state_dict())
    np.testing.assert_array_equal(weights["head.weight"], model.head.weight.detach().numpy())
