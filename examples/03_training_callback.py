"""Watch a network turn from lazy to rich while it trains: D_LR of each epoch, in a live plot.

What one learns: a network begins with features that know nothing of the task. Trained as a whole, it rebuilds them, and
D_LR falls; trained in its last layer alone, it stays lazy. A recorder measures each epoch on rows held back from the
training: the model is exported once, then only its weights are swapped, which costs a fraction of a second.

    python examples/03_training_callback.py --show

The task is made up: signs of two products of inputs, which no linear function of the inputs can tell.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

import onnxrich

INPUTS, WIDTH, TRAINED, HELD_BACK = 16, 96, 6_000, 1_500


def task(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal inputs, and which of four classes two products of them make."""
    x = torch.randn(rows, INPUTS)
    return x, (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] * x[:, 3] > 0).long()


def network() -> nn.Sequential:
    """A network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4)
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


def train(name: str, model: nn.Module, layers: nn.Module, *, epochs: int, plot: Plot, folder: Path) -> None:
    """Train some layers of a model, and measure it at the beginning and after each epoch."""
    x, y = task(TRAINED)
    held_back = torch.utils.data.TensorDataset(*task(HELD_BACK))
    recorder = onnxrich.Recorder(torch.utils.data.DataLoader(held_back, batch_size=500), folder / name, force=True)
    optimizer = torch.optim.Adam(layers.parameters(), lr=2e-3)
    for epoch in range(epochs + 1):
        analysis = recorder(model, epoch)
        plot.add(name, analysis.metrics)
        print(
            f"{name}, epoch {epoch}: D_LR {analysis.metrics['d_lr']:.3f}, accuracy {analysis.metrics['accuracy']:.1%}"
        )
        for batch in torch.randperm(TRAINED).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def main() -> None:
    """Train the same network twice, and keep records and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("onnxrich-report/training"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=15, help="of each training")
    parser.add_argument("--show", action="store_true", help="draw the plot in a window while it trains")
    options = parser.parse_args()
    torch.manual_seed(0)
    plot, initial = Plot(show=options.show), network()
    rich, lazy = copy.deepcopy(initial), copy.deepcopy(initial)
    train("all layers", rich, rich, epochs=options.epochs, plot=plot, folder=options.output)
    train("last layer alone", lazy, lazy[-1], epochs=options.epochs, plot=plot, folder=options.output)
    plot.figure.savefig(options.output / "training.png")
    print(f"wrote {options.output / 'training.png'}, and a record of each epoch beside it")
    if options.show:
        plt.show()


if __name__ == "__main__":
    main()
