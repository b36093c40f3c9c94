"""A measurement changes nothing of a training: weights, optimizer, buffers, modes, random states, loaders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import onnxrich
from onnxrich.errors import AdapterError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn, data = torch.nn, torch.utils.data

X, Y = torch.randn(96, 10, generator=torch.Generator().manual_seed(0)), torch.arange(96) % 3


def network() -> Any:
    """A network with what changes between training and evaluation; one part of it is frozen in evaluation mode."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 8), nn.BatchNorm1d(8),
        nn.Tanh(), nn.Linear(8, 3),
    )  # fmt: skip
    model[5].eval()
    return model


class Augmented(data.Dataset):
    """Rows with noise from every source: the global ones, and generators of its own."""

    def __init__(self) -> None:
        self.own, self.torch_own = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self):
            raise IndexError
        noise = random.random() + np.random.random() + self.own.random() + torch.rand(())
        return X[index] + 0.1 * (noise + torch.rand((), generator=self.torch_own)), Y[index]


class Epochs(data.Sampler):
    """Counts epochs, and shuffles by their number."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return len(X)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(torch.randperm(len(X), generator=torch.Generator().manual_seed(self.epoch)).tolist())


def tensors() -> Any:
    return data.TensorDataset(X, Y)


# What a training and its recorder share.
LOADERS: dict[str, Callable[[], Any]] = {
    "shuffled": lambda: data.DataLoader(tensors(), batch_size=32, shuffle=True),
    "generator": lambda: data.DataLoader(
        tensors(), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(5)
    ),
    "augmented": lambda: data.DataLoader(Augmented(), batch_size=32, shuffle=True),
    "counted epochs": lambda: data.DataLoader(tensors(), batch_size=32, sampler=Epochs()),
    "workers": lambda: data.DataLoader(
        Augmented(), batch_size=32, shuffle=True, num_workers=1, persistent_workers=True
    ),
}
SAMPLES: dict[str, Callable[[Any], Any]] = {
    "loader": lambda loader: loader,
    "tensor": lambda _: X,
    "pair": lambda _: (X, Y),
    "data set": lambda loader: loader.dataset,
    "iterator": lambda _: iter(data.DataLoader(tensors(), batch_size=32, shuffle=True)),
}


def seed() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def train(loader: Any, recorder: Any = None) -> tuple[Any, Any, list[Any]]:
    """A model after three epochs, its optimizer, and the random numbers that come next."""
    seed()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(3):
        if recorder is not None:
            recorder(model, step)
        for index, (x, y) in enumerate(loader):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            if recorder is not None and index == step == 1:
                recorder(model, 10)  # between the passes forward and backward, and within an epoch
            loss.backward()
            optimizer.step()
    return model, optimizer, [random.random(), np.random.random(), torch.rand(()).item()]


def flat(state: Any) -> Iterator[Any]:
    """The tensors and numbers of a nested state."""
    entries = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else None
    if entries is None:
        yield state
        return
    for entry in entries:
        yield from flat(entry)


def same(first: Any, second: Any) -> bool:
    """Whether two nested states are equal to the bit."""
    pairs = list(zip(flat(first), flat(second), strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.*fork.*")  # Python's own, where a process with threads is forked
@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_shared_with_the_training(kind: str) -> None:
    """A training whose loader is the sample too ends with the same bits as without a recorder."""
    loader = LOADERS[kind]()
    check(LOADERS[kind](), loader, onnxrich.Recorder(loader))


@pytest.mark.parametrize("sample", [name for name in SAMPLES if name != "loader"])
def test_samples(sample: str) -> None:
    """Whatever the sample is, the training ends with the same bits as without a recorder."""
    loader = LOADERS["augmented"]()
    check(LOADERS["augmented"](), loader, onnxrich.Recorder(SAMPLES[sample](loader)))


def check(alone: Any, loader: Any, recorder: Any) -> None:
    """Assert that a recorder changes nothing of a training."""
    expected, optimizer, numbers = train(alone)
    model, own_optimizer, own_numbers = train(loader, recorder)
    assert own_numbers == numbers
    assert same(model.state_dict(), expected.state_dict())
    assert same(own_optimizer.state_dict(), optimizer.state_dict())
    assert [part.training for part in model.modules()] == [part.training for part in expected.modules()]


class Writer(nn.Module):
    """Writes buffers and attributes in each forward pass, and reads none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("last", torch.zeros(16), persistent=False)
        self.calls, self.seen = 0, []

    def forward(self, x: Any) -> Any:
        hidden = torch.relu(self.norm(self.hidden(x)))
        with torch.no_grad():
            self.count += 1
            self.mean.mul_(0.9).add_(0.1 * hidden.detach().mean(0))
            self.last = hidden.detach().mean(0)
        self.calls += 1
        self.seen.append(1)
        self.new = 1
        return self.head(hidden)


def test_what_forward_writes() -> None:
    """`run` leaves buffers, attributes, gradients, modes, types and hooks of a module as they were."""
    torch.manual_seed(0)
    module = Writer()
    nn.functional.cross_entropy(module(X), Y).backward()
    module.hidden.weight.requires_grad_(False)
    module.norm.eval()
    hooked: list[int] = []
    handle = module.head.register_forward_hook(lambda *_: hooked.append(1))
    calls, seen = module.calls, list(module.seen)
    buffers = {name: (buffer, buffer.clone()) for name, buffer in module.named_buffers()}
    weights = {name: (entry, entry.detach().clone(), entry.grad) for name, entry in module.named_parameters()}
    flags = [entry.requires_grad for entry in module.parameters()]
    modes = [part.training for part in module.modules()]
    del module.new
    analysis = onnxrich.run(module, X, Y)
    assert analysis.metrics["accuracy"] is not None
    assert not hasattr(module, "new")
    assert (module.calls, module.seen) == (calls, seen)
    for name, buffer in module.named_buffers():
        assert buffer is buffers[name][0], name
        assert torch.equal(buffer, buffers[name][1]), name
    for name, entry in module.named_parameters():
        assert entry is weights[name][0]
        assert torch.equal(entry, weights[name][1])
        assert entry.grad is weights[name][2]
    assert [entry.requires_grad for entry in module.parameters()] == flags
    assert [part.training for part in module.modules()] == modes
    assert list(module.head._forward_hooks) == [handle.id]


def test_export_leaves_a_module_as_it_was(tmp_path: Any) -> None:
    """`export` too leaves what forward writes."""
    module = Writer()
    onnxrich.export(module, tmp_path / "model.onnx", X)
    assert (module.count.item(), module.calls, module.training) == (0, 0, True)


class Unstable(Writer):
    """Depends on what it wrote before, which no file can hold."""

    def forward(self, x: Any) -> Any:
        Unstable.total += 1
        return super().forward(x) + Unstable.total

    total = 0


def test_state_that_is_not_put_back() -> None:
    """A module whose outputs depend on how often it was called is refused."""
    with pytest.raises(AdapterError, match=r"the ONNX model of Unstable differs from torch .* Look for randomness"):
        onnxrich.run(Unstable(), X)
