"""Watch a network turn from lazy to rich while it trains: D_LR of each epoch, in a live plot.

What one learns: a network begins with features that know nothing of the task. Trained as a whole, it rebuilds them, and
D_LR falls; trained in its last layer alone, it stays lazy. A recorder measures each epoch on rows held back from the
training: the model is exported once, then only its weights are swapped, which costs a fraction of a second.

    python examples/03_training_callback.py --show

The task is made up: eight clouds of points, two to a class.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import nn

import onnxrich

INPUTS, WIDTH, CLOUDS, CLASSES, TRAINED, HELD_BACK = 32, 64, 8, 4, 4_000, 1_500

Rows = tuple[torch.Tensor, torch.Tensor]


def task() -> tuple[Rows, Rows]:
    """Points of eight clouds with their classes: those to train with, and those that are held back."""
    centers, cloud = 0.7 * torch.randn(CLOUDS, INPUTS), torch.randint(0, CLOUDS, (TRAINED + HELD_BACK,))
    x, y = centers[cloud] + torch.randn(len(cloud), INPUTS), cloud % CLASSES
    return (x[:TRAINED], y[:TRAINED]), (x[TRAINED:], y[TRAINED:])


def network() -> nn.Sequential:
    """A network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES)
    )  # fmt: skip


class Plot:
    """D_LR and accuracy against epochs, drawn again after each."""

    def __init__(self, *, show: bool) -> None:
        self.show = show
        self.figure, self.axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
        self.lines: dict[str, dict[str, list[float]]] = {}

    def add(self, name: str, metrics: dict[str, float]) -> None:
        """One more epoch of one training."""
        line = self.lines.setdefault(name, {"d_lr": [], "accuracy": []})
        for axes, key in zip(self.axes, line, strict=True):
            line[key].append(metrics[key])
            axes.clear()
            for label, values in self.lines.items():
                axes.plot(values[key], marker="o", markersize=3, label=label)
            axes.set(xlabel="epoch", ylabel={"d_lr": "D_LR (0 = rich, 1 = lazy)"}.get(key, key), ylim=(0, 1))
            axes.legend()
        if self.show:
            plt.pause(0.01)


def train(
    model: nn.Module, rows: Rows, optimizer: torch.optim.Optimizer, *, epochs: int, measured: Callable[[int], None]
) -> None:
    """A plain loop; `measured` is called at the beginning and after each epoch."""
    x, y = rows
    measured(0)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        measured(epoch)


def main() -> None:
    """Train the same network twice, and keep records and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("onnxrich-report/training"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=15, help="of each training")
    parser.add_argument("--show", action="store_true", help="draw the plot in a window while it trains")
    options = parser.parse_args()
    torch.manual_seed(0)
    rows, held_back = task()
    plot, initial = Plot(show=options.show), network()
    sample = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*held_back), batch_size=500)
    for name, rate in (("all layers", 2e-4), ("last layer alone", 1e-3)):
        model = copy.deepcopy(initial)
        trained = model if name == "all layers" else model[-1]
        recorder = onnxrich.Recorder(sample, options.output / name, force=True)

        def measured(epoch: int, name: str = name, model: nn.Module = model, recorder: Any = recorder) -> None:
            metrics = recorder(model, epoch).metrics
            plot.add(name, metrics)
            print(f"{name}, epoch {epoch}: D_LR {metrics['d_lr']:.3f}, accuracy {metrics['accuracy']:.1%}")

        optimizer = torch.optim.Adam(trained.parameters(), lr=rate)
        train(model, rows, optimizer, epochs=options.epochs, measured=measured)
    plot.figure.savefig(options.output / "training.png")
    print(f"wrote {options.output / 'training.png'}, and a record of each epoch beside it")
    if options.show:
        plt.show()


if __name__ == "__main__":
    main()
