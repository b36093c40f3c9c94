"""Small PyTorch backbones under every kind of head, output and number format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from _torch_export import Case, Inputs

BOTH = {"dynamo": 18, "legacy": 17}
P = 16


def table(n: int = 32, width: int = 10, dtype: torch.dtype = torch.float32) -> Inputs:
    """Seeded rows of a table."""
    return {"x": torch.randn(n, width).to(dtype)}


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU behind each."""
    return nn.Sequential(*(layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())))


class Net(nn.Module):
    """A backbone, a head, and a function of the scores (and features) behind it."""

    def __init__(self, head: nn.Module, after: Callable[..., object] | None = None, *, body: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.head = body or mlp(10, 24, P), head
        self.after = after

    def forward(self, x: Tensor) -> object:
        scores = self.head(self.body(x))
        return scores if self.after is None else self.after(scores)


class WithFeatures(Net):
    """Returns the embedding too, before or behind the scores."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


class Cosine(nn.Module):
    """Cosine similarity to class vectors; the features are normalised before they come here."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.empty(5, P))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, F.normalize(self.classes, dim=1))

    def affine(self) -> tuple[Tensor, None]:
        """The weights of this head, (p, C), and no bias."""
        return F.normalize(self.classes.double(), dim=1).T, None


class Normalise(nn.Module):
    """Scales each row to norm one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class EinsumHead(nn.Module):
    """A head written as an einsum, with its weights in a chosen order."""

    def __init__(self, equation: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.equation = equation
        self.kernel, self.offset = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(5))

    def forward(self, features: Tensor) -> Tensor:
        return torch.einsum(self.equation, features, self.kernel) + self.offset

    def affine(self) -> tuple[Tensor, Tensor]:
        """The weights of this head, (p, C), and its bias."""
        kernel = self.kernel.double()
        return (kernel if kernel.shape[0] == P else kernel.T), self.offset


class Sliced(nn.Module):
    """A head that uses the first rows of a larger weight matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.offset = nn.Parameter(torch.empty(9, P)), nn.Parameter(torch.empty(9))

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.kernel[:5], self.offset[:5])

    def affine(self) -> tuple[Tensor, Tensor]:
        """The weights of this head, (p, C), and its bias."""
        return self.kernel[:5].double().T, self.offset[:5]


class Several(nn.Module):
    """Heads on the same features, or each on its own, with outputs of different kinds."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.body, self.left, self.right = mlp(10, 24), mlp(24, P), mlp(24, 12)
        self.kind, self.value = nn.Linear(P, 5), nn.Linear(P if shared else 12, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        left = self.left(x)
        return self.kind(left).softmax(-1), self.value(left if self.shared else self.right(x))


class Tabular(nn.Module):
    """Numbers and categories as two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(7, 4), mlp(10, P), nn.Linear(P, 3)

    def forward(self, numbers: Tensor, category: Tensor) -> Tensor:
        return self.head(self.body(torch.cat([numbers, self.embedding(category)], -1)))


class Narrow(nn.Module):
    """Computes in a narrow format between a cast at the input and one at the output."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = Net(nn.Linear(P, 5)).to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.to(self.dtype)).float()


class TwoTowers(nn.Module):
    """Similarities between two computed embeddings: no linear layer gives the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(10, 8), nn.Linear(10, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.normalize(self.left(x), dim=-1) @ F.normalize(self.right(y), dim=-1).T


class Prototypes(nn.Module):
    """Negative squared distances to class centres, written with a matrix product that is no head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.centres = mlp(10, P), nn.Parameter(torch.empty(5, P))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return 2 * x @ self.centres.T - self.centres.square().sum(1) - x.square().sum(1, keepdim=True)


class Ensemble(nn.Module):
    """The mean of two heads, each with features of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Sequential(mlp(10, P), nn.Linear(P, 5)), nn.Sequential(mlp(10, 8), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (self.left(x) + self.right(x)) / 2


def outputs() -> list[Case]:
    """What stands behind the head."""
    linear = lambda: nn.Linear(P, 5)
    return [
        Case("mlp", lambda: Net(linear()), table, exporters={"dynamo": 18, "legacy": 7}),
        Case("softmax", lambda: Net(linear(), lambda s: s.softmax(-1)), table, exporters=BOTH),
        Case("log_softmax", lambda: Net(linear(), lambda s: s.log_softmax(1)), table, exporters={"dynamo": 24, "legacy": 8}),
        Case("sigmoid_binary", lambda: Net(nn.Linear(P, 1), lambda s: s.sigmoid().squeeze(-1)), table, exporters=BOTH),
        Case("sigmoid_multilabel", lambda: Net(linear(), torch.sigmoid), table),
        Case("argmax", lambda: Net(linear(), lambda s: s.argmax(-1)), table, exporters=BOTH),
        Case("topk", lambda: Net(linear(), lambda s: s.softmax(-1).topk(3)), table, exporters=BOTH),
        Case("temperature", lambda: Net(linear(), lambda s: (s / 2.5).softmax(-1)), table, exporters=BOTH, more={"scale_after": 0.4}),
        Case("clip", lambda: Net(linear(), lambda s: s.clamp(-1.0, 1.0)), table, exporters=BOTH),
        Case("scores_and_probabilities", lambda: Net(linear(), lambda s: (s, s.softmax(-1))), table, exporters=BOTH),
        Case("label_and_probability", lambda: Net(linear(), lambda s: (s.argmax(-1), s.softmax(-1).amax(-1))), table),
        Case("embedding_too", lambda: WithFeatures(linear()), table, exporters=BOTH,
             more={"notes": "The first output is the penultimate layer."}),
        Case("regression", lambda: Net(nn.Linear(P, 1)), table, exporters=BOTH),
        Case("regression_flat", lambda: Net(nn.Linear(P, 1), lambda s: s.flatten()), table),
        Case("regression_positive", lambda: Net(nn.Linear(P, 3), lambda s: F.softplus(s) + 0.1), table),
        Case("regression_rescaled", lambda: Net(nn.Linear(P, 2), lambda s: s * 3.0 + 7.0), table, exporters={"legacy": 17},
             more={"scale_after": 3.0, "shift_after": 7.0, "notes": "Targets are scaled back behind the head: 3 f + 7, which belongs to it."}),
    ]


def heads() -> list[Case]:
    """The head itself and what stands before it."""
    linear = lambda: nn.Linear(P, 5)
    normal = lambda: nn.Sequential(mlp(10, 24, P), Normalise())
    drop = lambda: nn.Sequential(nn.LayerNorm(P), nn.Dropout(0.5), linear())
    before = lambda: nn.Sequential(nn.Linear(10, P), nn.BatchNorm1d(P), nn.Tanh(), nn.Dropout())
    weighted = lambda: Net(nn.utils.parametrizations.weight_norm(linear()))
    legacy = {"exporters": {"legacy": 17}}
    return [
        Case("norm_dropout_head", lambda: Net(drop()), table, heads=("head.2",), exporters=BOTH),
        Case("batch_norm_before", lambda: Net(linear(), body=before()), table, exporters=BOTH),
        Case("cosine", lambda: Net(Cosine(), lambda s: 16.0 * s, body=normal()), table, exporters=BOTH, more={"scale_after": 16.0}),
        Case("normalised_features", lambda: Net(linear(), body=normal()), table),
        Case("weight_norm", weighted, table, exporters=BOTH),
        Case("bias_free", lambda: Net(nn.Linear(P, 5, bias=False)), table, exporters=BOTH),
        Case("einsum", lambda: Net(EinsumHead("np,pc->nc", (P, 5))), table, exporters=BOTH),
        Case("einsum_transposed", lambda: Net(EinsumHead("np,cp->nc", (5, P))), table, **legacy),
        Case("sliced_weight", lambda: Net(Sliced()), table, exporters=BOTH),
        Case("two_heads_shared", lambda: Several(shared=True), table, heads=("kind", "value"), exporters=BOTH),
        Case("two_tasks", lambda: Several(shared=False), table, heads=("kind", "value"), exporters=BOTH),
        Case("two_inputs", Tabular, lambda: {"numbers": torch.randn(32, 6), "category": torch.randint(0, 7, (32,))}, exporters=BOTH),
        Case("two_towers", TwoTowers, lambda: table() | {"y": torch.randn(32, 10)}, heads=(), exporters={"legacy": 17},
             more={"notes": "The last product is of two computed tensors."}),
        Case("prototypes", Prototypes, table, heads=(), exporters={"legacy": 17},
             more={"notes": "Squared distances: the matrix product is only one of three terms."}),
        Case("ensemble", Ensemble, table, heads=(), more={"notes": "The mean of two heads with different features: neither is the head."}),
        Case("fixed_batch_1", lambda: Net(linear()), table, batch=1, exporters=BOTH),
        Case("fixed_batch_8", lambda: Net(linear(), lambda s: s.softmax(-1)), lambda: table(30), batch=8, exporters=BOTH),
        Case("external_data", lambda: Net(linear()), table, external=True),
    ]


def formats() -> list[Case]:
    """Number formats. The tolerances are a few units of the format's last place, as two kernels round differently."""
    linear = lambda: nn.Linear(P, 5)
    half = {"rtol_features": 5e-3, "rtol_logits": 5e-3, "tolerance": "float16: 5 eps; the runtime computes in float32 between casts"}
    double = {"rtol_features": 1e-12, "rtol_logits": 1e-12, "tolerance": "float64"}
    return [
        Case("float16", lambda: Net(linear()), lambda: table(dtype=torch.float16), dtype=torch.float16, exporters=BOTH, more=half),
        Case("float64", lambda: Net(linear()), lambda: table(dtype=torch.float64), dtype=torch.float64, exporters=BOTH, more=double),
        Case("float16_inside", lambda: Narrow(torch.float16), table, heads=("inner.head",), more=half),
    ]


def cases() -> list[Case]:
    """All of them."""
    return [*outputs(), *heads(), *formats()]
