"""Watch a transformer grok modular division: eight checkpoints, and how rich each of them is.

What one learns: accuracy on the training data says nothing of what a network has learned. This one knows its training
data by heart long before it can divide. D_LR, measured on those same data, shows the difference: it falls, from lazy to
rich, while the training accuracy stays perfect, and the test accuracy follows (Power et al. 2022; Kumar et al.
2024, "Grokking as the transition from lazy to rich training dynamics"; Nam et al. 2026, arXiv 2410.04264).

A 2-layer transformer reads (a, b) and says a / b modulo 31, by mean squared error to one-hot targets, on three quarters
of the 930 pairs. A large head makes the start lazy: the outputs can be changed while the features hardly move. Weight
decay ends that.

    python examples/04_grokking.py --output grokking

Needs PyTorch and onnxscript. About a minute on one core; `--steps 20` is a quick look. What a run of this script wrote
is kept in examples/grokking. Read D_LR on the training data, with eleven rows a feature; the test data have fewer than
four, too few. And read it once the outputs fit: with 31 of them on 64 features, even the untrained network is at 0.44.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import onnxrich

PRIME, WIDTH, ATTENTION, HEADS = 31, 64, 32, 2
LEARNING_RATE, WEIGHT_DECAY, BATCH, TRAINED_ON = 1e-3, 1.0, 256, 0.75
HEAD_SCALE = 8.0
STEPS, KEPT = 3_000, (0, 1_400, 1_600, 1_800, 2_000, 2_200, 2_400)


@dataclass(frozen=True)
class Data:
    """Pairs, int64 tensor of shape (n, 2), and their quotients, int64 tensor of shape (n,)."""

    pairs: torch.Tensor
    labels: torch.Tensor

    def part(self, rows: torch.Tensor) -> Data:
        """Some of the rows."""
        return Data(self.pairs[rows], self.labels[rows])


@dataclass(frozen=True)
class Checkpoint:
    """What one file of the run says of itself, and what onnxrich measures in it."""

    step: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    d_lr_train: float
    d_lr_test: float


class Block(nn.Module):
    """Attention and a ReLU layer, each after a layer normalisation and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, ATTENTION, bias=False) for _ in range(3))
        self.mix = nn.Linear(ATTENTION, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        """Softmax attention between tokens; with two of them, sums of products are faster than matrix products."""
        query, key, value = (layer(x).unflatten(-1, (HEADS, -1)) for layer in (self.query, self.key, self.value))
        scores = (query.unsqueeze(2) * key.unsqueeze(1)).sum(-1) / (ATTENTION / HEADS) ** 0.5
        attended = (scores.softmax(2).unsqueeze(-1) * value.unsqueeze(1)).sum(2)
        return self.mix(attended.flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens to tokens, both of shape (N, 2, WIDTH)."""
        x = x + self.attend(self.norm1(x))
        return x + self.down(self.up(self.norm2(x)).relu())


class Transformer(nn.Module):
    """Two blocks; the answer is read at the second token."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.positions = nn.Embedding(PRIME, WIDTH), nn.Parameter(torch.randn(2, WIDTH) / WIDTH**0.5)
        self.blocks, self.norm = nn.Sequential(Block(), Block()), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, PRIME, bias=False)
        with torch.no_grad():
            self.numbers.weight /= WIDTH**0.5
            self.head.weight *= HEAD_SCALE

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Outputs of shape (N, PRIME) for numbers of shape (N, 2)."""
        tokens = self.blocks(self.numbers(pairs) + self.positions)
        return self.head(self.norm(tokens[:, 1]))


def division() -> Data:
    """All pairs of a dividend and a divisor other than 0, in order."""
    pairs = [(dividend, divisor) for dividend in range(PRIME) for divisor in range(1, PRIME)]
    quotients = [dividend * pow(divisor, -1, PRIME) % PRIME for dividend, divisor in pairs]
    return Data(torch.tensor(pairs), torch.tensor(quotients))


def squared_error(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over the outputs, mean over the rows."""
    return (outputs - torch.eye(PRIME)[labels]).square().sum(1).mean()


def train(model: Transformer, data: Data, *, steps: int) -> Iterator[int]:
    """AdamW, for as long as the caller goes on; gives the number of steps done, from 0 on."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98), fused=True
    )
    yield 0
    batches: list[torch.Tensor] = []
    for step in range(1, steps + 1):
        batches = batches or list(torch.randperm(len(data.labels)).split(BATCH))
        batch = data.part(batches.pop())
        optimizer.zero_grad()
        squared_error(model(batch.pairs), batch.labels).backward()
        optimizer.step()
        yield step


@torch.no_grad()
def describe(model: Transformer, step: int, *, train: Data, test: Data) -> dict[str, str]:
    """What is written into a checkpoint about itself."""
    outputs = model(train.pairs)
    return {
        "onnxrich.step": str(step),
        "onnxrich.train_loss": f"{squared_error(outputs, train.labels).item():.6g}",
        "onnxrich.train_accuracy": f"{accuracy(outputs, train.labels):.6g}",
        "onnxrich.test_accuracy": f"{accuracy(model(test.pairs), test.labels):.6g}",
    }


def accuracy(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of rows whose largest output is their label."""
    return (outputs.argmax(1) == labels).double().mean().item()


def to_onnx(model: Transformer, path: Path, facts: dict[str, str]) -> None:
    """Export with a symbolic first dimension, half-precision weights, and facts as metadata."""
    program = torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 2, dtype=torch.int64),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["pairs"],
        output_names=["outputs"],
        opset_version=18,
        optimize=False,  # the optimizer merges and renames weights, by their values: no two checkpoints alike
        verbose=False,
    )
    proto = program.model_proto
    for described in (*proto.graph.node, *proto.graph.value_info):
        del described.metadata_props[:]
    store_as_half(proto.graph)
    helper.set_model_props(proto, facts)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def store_as_half(graph: onnx.GraphProto) -> None:
    """Keep as float16, cast to float32 before use, what float16 holds exactly: half the size, the same model."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if np.array_equal(half, values):
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    computed = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *computed])


def measure(path: Path) -> Checkpoint:
    """Richness of a checkpoint on the training and the test data beside it, and what it says of itself."""
    facts = {entry.key.removeprefix("onnxrich."): entry.value for entry in onnx.load(path).metadata_props}
    d_lr = {part: onnxrich.run(path, path.parent / f"{part}.npz").metrics["d_lr"] for part in ("train", "test")}
    return Checkpoint(
        step=int(facts["step"]),
        train_loss=float(facts["train_loss"]),
        train_accuracy=float(facts["train_accuracy"]),
        test_accuracy=float(facts["test_accuracy"]),
        d_lr_train=d_lr["train"],
        d_lr_test=d_lr["test"],
    )


def draw(run: list[Checkpoint], path: Path) -> None:
    """Richness and accuracies against the number of steps."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps = [at.step for at in run]
    axes.plot(steps, [at.train_accuracy for at in run], "o-", color="tab:gray", label="accuracy, training data")
    axes.plot(steps, [at.test_accuracy for at in run], "s-", color="tab:blue", label="accuracy, test data")
    axes.plot(steps, [at.d_lr_train for at in run], "^-", color="tab:red", label="D_LR, training data")
    axes.plot(steps, [at.d_lr_test for at in run], "v--", color="tab:orange", label="D_LR, test data")
    axes.set(xlabel="steps", ylim=(-0.03, 1.03), title=f"division modulo {PRIME}")
    axes.legend()
    figure.savefig(path, dpi=150)


def parse() -> argparse.Namespace:
    """The options of the command line, checked before any work is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("grokking"), help="folder to write to")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the batches")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    options = parser.parse_args()
    if not options.force and options.output.exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty; pass --force or another --output")
    return options


def main() -> None:
    """Train, export, measure."""
    options = parse()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    data = division()
    rows = torch.randperm(len(data.labels))
    trained_on = int(TRAINED_ON * len(rows))
    parts = {"train": data.part(rows[:trained_on]), "test": data.part(rows[trained_on:])}
    for name, part in parts.items():
        np.savez_compressed(options.output / f"{name}.npz", pairs=part.pairs.numpy(), labels=part.labels.numpy())

    run = []
    print("  step  training loss  training accuracy  test accuracy  D_LR on training data  on test data")
    model = Transformer()
    for step in train(model, parts["train"], steps=options.steps):
        if step in KEPT or step == options.steps:
            rounded = copy.deepcopy(model).half().float()
            path = options.output / f"step-{step:06}.onnx"
            to_onnx(rounded, path, describe(rounded, step, **parts))
            run.append(at := measure(path))
            print(
                f"{at.step:6} {at.train_loss:14.4f} {at.train_accuracy:18.1%} {at.test_accuracy:14.1%} "
                f"{at.d_lr_train:22.3f} {at.d_lr_test:13.3f}"
            )
    draw(run, options.output / "grokking.png")
    print(f"Checkpoints, data and figure are in {options.output}.")


if __name__ == "__main__":
    main()
