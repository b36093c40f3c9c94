"""Modules as PyTorch's two exporters write them: the number of PyTorch's own features in double, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from pipelines._verdict import BATCH, CHANCE, MASK, Case, verdict

import onnxrich
from onnxrich import Analysis

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn
onnx = pytest.importorskip("onnx")

ROWS, TOKENS, C = 120, 7, 5
EXPORTERS = pytest.mark.parametrize("dynamo", [False, True], ids=["TorchScript", "dynamo"])
Shapes = dict[str, dict[int, str]]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same weights and rows in each test."""
    torch.manual_seed(0)


def exported(
    module: Any, inputs: dict[str, Any], axes: Shapes, folder: Path, *, dynamo: bool, training: bool = False
) -> Any:
    """The ONNX model of a module, from the first rows along the axis of samples, which stays free as all named axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        return _exported(module, inputs, axes, folder, dynamo=dynamo, training=training)


def _exported(module: Any, inputs: dict[str, Any], axes: Shapes, folder: Path, *, dynamo: bool, training: bool) -> Any:
    path = folder / "model.onnx"
    sample = tuple(first_rows(value, axes[name]) for name, value in inputs.items())
    names = list(inputs)
    if dynamo:
        dims = {axis: torch.export.Dim(axis) for shape in axes.values() for axis in shape.values()}
        shapes = tuple({k: dims[axis] for k, axis in axes[name].items()} for name in names)
        torch.onnx.export(
            module, sample, path, input_names=names, output_names=["y"], dynamo=True, dynamic_shapes=shapes,
            external_data=False, verbose=False,
        )  # fmt: skip
    else:
        mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(
            module, sample, path, input_names=names, output_names=["y"], dynamo=False, dynamic_axes=axes,
            opset_version=17, training=mode, do_constant_folding=not training,
        )  # fmt: skip
    return onnx.load(path)


def first_rows(value: Any, axes: dict[int, str]) -> Any:
    """Three of the samples."""
    place = next((k for k, axis in axes.items() if axis == "N"), None)
    return value if place is None else value.narrow(place, 0, 3)


def hooked(module: Any, layer: Any, inputs: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """What stands before and behind a layer, in double."""
    seen: list[Any] = []
    handle = layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    module.double()
    with torch.no_grad():
        module(*(value.double() if value.is_floating_point() else value for value in inputs.values()))
    handle.remove()
    module.float()
    return tuple(part.detach().numpy() for part in seen[0])


def flat(array: np.ndarray) -> np.ndarray:
    """Rows of the last axis."""
    return array.reshape(-1, array.shape[-1])


def check(proto: Any, inputs: dict[str, Any], *truths: tuple[np.ndarray, np.ndarray], **options: Any) -> Any:
    """The verdict on a model with the data of its inputs."""
    case = Case(
        name="exported",
        model=proto,
        data={name: value.numpy() for name, value in inputs.items()},
        values=tuple(oracle.d_lr(*truth) for truth in truths),
        **options,
    )
    return verdict(case)


# Recurrent layers with PyTorch's default layout, time first


class Recurrent(nn.Module):
    """A recurrent layer of a kind, of which the last step is classified."""

    def __init__(self, kind: str, twice: bool) -> None:
        super().__init__()
        self.body = getattr(nn, kind)(6, 12, bidirectional=twice)
        self.head = nn.Linear(24 if twice else 12, C)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x)[0][-1])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("twice", [False, True], ids=["forward", "both ways"])
@EXPORTERS
def test_recurrent_layers(kind: str, twice: bool, dynamo: bool, tmp_path: Path) -> None:
    """Samples along the second axis are samples; labels are theirs."""
    module = Recurrent(kind, twice).eval()
    inputs = {"x": torch.randn(11, ROWS, 6)}
    axes: Shapes = {"x": {1: "N"}} if dynamo else {"x": {0: "T", 1: "N"}, "y": {0: "N"}}
    proto = exported(module, inputs, axes, tmp_path, dynamo=dynamo)
    h, z = hooked(module, module.head, inputs)
    result = check(proto, inputs, (h, z), labels=z.argmax(1), accuracy=1.0, rows=ROWS)
    assert isinstance(result, Analysis)


class Tagger(nn.Module):
    """Tags tokens by a recurrent layer with time first, in rows of [T · N, width]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed, self.body = nn.Embedding(30, 8), getattr(nn, kind)(8, 12)
        self.head = nn.Linear(12, C)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        embedded = self.embed(input_ids) * attention_mask.unsqueeze(-1)
        states, _ = self.body(embedded.transpose(0, 1))
        steps, samples, width = states.shape
        scores = torch.log_softmax(self.head(states.reshape(steps * samples, width)), dim=1)
        return scores.view(steps, samples, C).transpose(0, 1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@EXPORTERS
def test_taggers(kind: str, dynamo: bool, tmp_path: Path) -> None:
    """Mask and labels fall on their own tokens."""
    module = Tagger(kind).eval()
    kept = torch.arange(TOKENS) < torch.randint(2, TOKENS + 1, (ROWS, 1))
    inputs = {"input_ids": torch.randint(1, 30, (ROWS, TOKENS)) * kept, "attention_mask": kept.long()}
    free = {0: "N", 1: "T"}
    axes: Shapes = {"input_ids": free, "attention_mask": free} | ({} if dynamo else {"y": free})
    proto = exported(module, inputs, axes, tmp_path, dynamo=dynamo)
    h, z = (part.reshape(TOKENS, ROWS, -1).transpose(1, 0, 2) for part in hooked(module, module.head, inputs))
    mask = kept.numpy()
    labels = np.where(mask, z.argmax(-1), -100)
    check(proto, inputs, (h[mask], z[mask]), labels=labels, accuracy=1.0, rows=int(mask.sum()))


# Constants of language models


class Causal(nn.Module):
    """One layer of attention with a causal mask of a fill, as a buffer."""

    def __init__(self, fill: float) -> None:
        super().__init__()
        self.embed, self.qkv, self.norm = nn.Embedding(30, 16), nn.Linear(16, 48), nn.LayerNorm(16)
        self.head = nn.Linear(16, 30, bias=False)
        self.register_buffer("mask", torch.full((12, 12), fill).triu(1))

    def forward(self, input_ids: Any) -> Any:
        x = self.embed(input_ids)
        query, key, value = self.qkv(x).split(16, -1)
        steps = input_ids.shape[1]
        scores = query @ key.transpose(1, 2) / 4 + self.mask[:steps, :steps]
        return self.head(self.norm(x + torch.softmax(scores, -1) @ value))


@pytest.mark.parametrize("fill", [float("-inf"), torch.finfo(torch.float32).min, -1e9])
@EXPORTERS
def test_causal_masks(fill: float, dynamo: bool, tmp_path: Path) -> None:
    """A causal mask is no parameter, and every number is finite."""
    module = Causal(fill).eval()
    inputs = {"input_ids": torch.randint(0, 30, (ROWS, TOKENS))}
    axes: Shapes = {"input_ids": {0: "N"}} | ({} if dynamo else {"y": {0: "N"}})
    proto = exported(module, inputs, axes, tmp_path, dynamo=dynamo)
    h, z = hooked(module, module.head, inputs)
    result = check(proto, inputs, (flat(h), flat(z)))
    assert isinstance(result, Analysis)
    norm = sum(float((weight.detach().double() ** 2).sum()) for weight in module.parameters())
    # A scalar of the graph, such as the 4 that divides the scores, may count as one.
    assert result.metrics["parameter_norm"] == pytest.approx(norm, abs=20)


# Heads


class Base(nn.Module):
    """A hidden layer, and something behind."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 16), nn.ReLU())


class Units(Base):
    """Two outputs in their own units."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)
        self.register_buffer("mean", torch.tensor([3e5, 0.04]))
        self.register_buffer("deviation", torch.tensor([2e5, 0.01]))

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x)) * self.deviation + self.mean


class Adapted(Base):
    """A head with an adapter that was not merged."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, C)
        self.down, self.up = nn.Linear(16, 2, bias=False), nn.Linear(2, C, bias=False)

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return self.head(hidden) + 2.0 * self.up(self.down(hidden))


class Dueling(Base):
    """Value and advantages."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.advantage = nn.Linear(16, 1), nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(dim=1, keepdim=True)


class Normalized(Base):
    """A normalisation behind the head, as embeddings of faces have it."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Linear(16, C), nn.BatchNorm1d(C)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Any) -> Any:
        return self.norm(self.head(self.body(x)))


class Joined(Base):
    """Two heads on the same features in one output."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(16, 2), nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return torch.cat([self.one(hidden), self.two(hidden)], dim=1)


@pytest.mark.parametrize("kind", [Units, Adapted, Dueling, Normalized, Joined])
@EXPORTERS
def test_affine_heads(kind: type, dynamo: bool, tmp_path: Path) -> None:
    """All that is affine in the features is the head."""
    module = kind().eval()
    inputs = {"x": torch.randn(ROWS, 10)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    h, _ = hooked(module, module.body, inputs)
    module.double()
    with torch.no_grad():
        h, y = module.body(inputs["x"].double()).numpy(), module(inputs["x"].double()).numpy()
    module.float()
    result = check(proto, inputs, (h, np.linalg.qr(y / np.linalg.norm(y, axis=0))[0]), rows=ROWS)
    assert isinstance(result, Analysis)
    assert result.metrics["rank_outputs"] == np.linalg.matrix_rank(y / np.linalg.norm(y, axis=0), tol=1e-8)


class Expectation(Base):
    """The mean of bins under a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 20)
        self.register_buffer("bins", torch.arange(20.0))

    def forward(self, x: Any) -> Any:
        return (torch.softmax(4 * self.head(self.body(x)), dim=-1) * self.bins).sum(-1, keepdim=True)


class MatrixExpectation(Expectation):
    """The same by a product."""

    def forward(self, x: Any) -> Any:
        return torch.softmax(self.head(self.body(x)), dim=-1) @ self.bins


class Distributions(Expectation):
    """Four distributions of five bins, averaged by a convolution with fixed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(5, 1, 1, bias=False).requires_grad_(False)
        self.project.weight.data[:] = torch.arange(5.0).view(1, 5, 1, 1)

    def forward(self, x: Any) -> Any:
        groups = self.head(self.body(x)).view(-1, 4, 5, 1).transpose(1, 2).softmax(1)
        return self.project(groups).view(-1, 4)


@pytest.mark.parametrize("kind", [Expectation, MatrixExpectation, Distributions])
@EXPORTERS
def test_expectations(kind: type, dynamo: bool, tmp_path: Path) -> None:
    """The head is the layer before the softmax."""
    module = kind().eval()
    inputs = {"x": torch.randn(ROWS, 10)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    check(proto, inputs, hooked(module, module.head, inputs), certain=kind is not Distributions)


class Refined(Base):
    """Coarse outputs and a correction made from them."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.late, self.head = nn.Linear(16, C), nn.Linear(C, 8), nn.Linear(8, C)

    def forward(self, x: Any) -> Any:
        coarse = self.coarse(self.body(x))
        return coarse + self.head(torch.relu(self.late(coarse)))


@EXPORTERS
def test_corrected_outputs(dynamo: bool, tmp_path: Path) -> None:
    """Neither part is the model's head."""
    module = Refined().eval()
    inputs = {"x": torch.randn(ROWS, 10)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    late, _ = hooked(module, module.head, inputs)
    _, y = hooked(module, module, inputs)
    check(proto, inputs, (late, y), certain=False)


# Batches and chance


class Trained(Base):
    """Normalisation and dropout as in training."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 16), layer, nn.ReLU())
        self.head = nn.Linear(16, C)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x))


LAYERS: list[tuple[Callable[[], Any], tuple[str, ...]]] = [
    (lambda: nn.BatchNorm1d(16), BATCH),
    (lambda: nn.Dropout(0.5), CHANCE),
]


@pytest.mark.parametrize(("layer", "told"), LAYERS)
def test_export_in_training_mode(layer: Callable[[], Any], told: tuple[str, ...], tmp_path: Path) -> None:
    """What was exported in training mode depends on the batch, or on chance."""
    module = Trained(layer()).train()
    inputs = {"x": torch.randn(ROWS, 10)}
    proto = exported(module, inputs, {"x": {0: "N"}, "y": {0: "N"}}, tmp_path, dynamo=False, training=True)
    # The runtime on a CPU leaves Dropout out even where it is on.
    truths = [hooked(module.eval(), module.head, inputs)] if told == CHANCE else []
    check(proto, inputs, *truths, told=told, certain=False)


class Attentive(nn.Module):
    """An encoder whose layout is time first, which is fed samples first: samples attend to each other."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, dropout=0.0)
        self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, C)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean(dim=1))


@EXPORTERS
def test_samples_that_attend_to_each_other(dynamo: bool, tmp_path: Path) -> None:
    """Attention over the batch is refused, or a notice says so."""
    module = Attentive(batch_first=False).eval()
    inputs = {"x": torch.randn(ROWS, TOKENS, 8)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    check(proto, inputs, told=BATCH, certain=False)


@EXPORTERS
def test_tokens_that_attend_to_each_other(dynamo: bool, tmp_path: Path) -> None:
    """Attention over the tokens of a sample is measured."""
    module = Attentive(batch_first=True).eval()
    inputs = {"x": torch.randn(ROWS, TOKENS, 8)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    check(proto, inputs, hooked(module, module.head, inputs), rows=ROWS)


class Drawn(Base):
    """A code that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, C)

    def forward(self, x: Any) -> Any:
        hidden = self.body(x)
        return self.head(hidden + torch.randn_like(hidden))


@EXPORTERS
def test_drawn_codes(dynamo: bool, tmp_path: Path) -> None:
    """Chance is refused, or a notice says so."""
    inputs = {"x": torch.randn(ROWS, 10)}
    proto = exported(Drawn().eval(), inputs, {"x": {0: "N"}}, tmp_path, dynamo=dynamo)
    check(proto, inputs, told=CHANCE, certain=False)


class Melted(Base):
    """The batch becomes one row."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, C)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x.reshape(1, -1, 10)).mean(1))


def test_batch_that_becomes_one_row(tmp_path: Path) -> None:
    """Each sample is a batch of its own, or the refusal says how."""
    module = Melted().eval()
    inputs = {"x": torch.randn(ROWS, TOKENS, 10)}
    proto = exported(module, inputs, {"x": {0: "N"}}, tmp_path, dynamo=False)
    parts = [hooked(module, module.head, {"x": row[None]}) for row in inputs["x"]]
    h, z = (np.concatenate(each) for each in zip(*parts, strict=True))
    check(proto, inputs, (h, z), rows=ROWS, certain=False, remedy="--batch-size 1")
    check(proto, inputs, (h, z), rows=ROWS, options={"batch_size": 1})


# Masks


class Padded(nn.Module):
    """Tokens that attend to those that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Embedding(30, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, C)

    def forward(self, input_ids: Any, key_padding_mask: Any) -> Any:
        x = self.embed(input_ids)
        mixed, _ = self.attend(x, x, x, key_padding_mask=key_padding_mask, need_weights=False)
        return self.head(torch.relu(x + mixed))


@pytest.mark.parametrize("named", [True, False])
def test_padding_masks(named: bool, tmp_path: Path) -> None:
    """A mask of True for padding is taken the right way round where it is named, and named where it is not."""
    module = Padded().eval()
    kept = torch.arange(TOKENS) < torch.randint(2, TOKENS + 1, (ROWS, 1))
    inputs = {"input_ids": torch.randint(1, 30, (ROWS, TOKENS)), "key_padding_mask": ~kept}
    free = {0: "N", 1: "T"}
    proto = exported(module, inputs, dict.fromkeys(inputs, free), tmp_path, dynamo=False)
    h, z = hooked(module, module.head, inputs)
    mask = kept.numpy()
    check(
        proto, inputs, (h[mask], z[mask]), rows=int(mask.sum()), certain=named, told=() if named else MASK,
        options={"mask": "not:key_padding_mask"} if named else {}, remedy="" if named else "key_padding_mask",
        whole=oracle.d_lr(flat(h), flat(z)),
    )  # fmt: skip


def test_module_itself() -> None:
    """A module that is run, not exported first, is measured the same way."""
    module = Recurrent("LSTM", twice=False).eval()
    x = torch.randn(11, ROWS, 6)
    h, z = hooked(module, module.head, {"x": x})
    analysis = onnxrich.run(module, {"x": x}, device="cpu", batch_axis=1)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(h, z), abs=4e-5)
