"""Train a small CNN on Fashion-MNIST, export it before and after, and measure its richness on all 70 000 images.

What one learns: the whole way from a training script to a report. The pixels stay bytes until they are inside the
model, so the data file is the data set as it is; the first dimension is symbolic, so that any batch size fits; and
onnxrich reads the images from disk in one pass, whatever their number.

    apt-get install dataset-fashion-mnist
    python examples/02_fashion_mnist_cnn.py --output fashion-mnist

Needs PyTorch and onnxscript. About a minute on two cores; `--limit 2000 --epochs 1` is a quick look.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

import onnxrich

PARTS = ("train", "t10k")
MISSING = """no {name} in {folder}
The four idx.gz files of Fashion-MNIST are needed. Debian and Ubuntu have them: `apt-get install dataset-fashion-mnist`;
or, without installing, `apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb fashion`,
then pass `--data fashion/usr/share/datasets/fashion-mnist`."""


class Network(nn.Module):
    """Three convolution blocks, 128 penultimate features, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(block(1, 32), block(32, 64), block(64, 64))
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 128), nn.ReLU())
        self.head = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of shape (N, 10) for bytes of shape (N, 28, 28)."""
        pixels = images.float().unsqueeze(1) / 255
        return self.head(self.features(self.blocks(pixels)))


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution that halves height and width, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def read_idx(folder: Path, name: str) -> np.ndarray:
    """The array of a gzipped file in MNIST's idx format, bytes of any rank."""
    path = folder / f"{name}-ubyte.gz"
    if not path.is_file():
        raise SystemExit(MISSING.format(name=path.name, folder=folder))
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder: Path, part: str, *, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 array of shape (n, 28, 28), and labels, int64 array of shape (n,)."""
    images = read_idx(folder, f"{part}-images-idx3")[:limit]
    return images, read_idx(folder, f"{part}-labels-idx1")[:limit].astype(np.int64)


def train(model: Network, images: torch.Tensor, labels: torch.Tensor, *, epochs: int) -> None:
    """Adam on the cross-entropy, with a one-cycle learning rate."""
    optimizer = torch.optim.Adam(model.parameters())
    steps = epochs * len(torch.arange(len(images)).split(128))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    model.train()
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.3f}")


@torch.no_grad()
def accuracy(model: Network, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images whose largest logit is their label."""
    model.eval()
    right = [(model(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return sum(right) / len(images)


def to_onnx(model: Network, path: Path) -> None:
    """Export with a symbolic first dimension and without the stack traces that the exporter keeps in its nodes."""
    example = (torch.zeros(2, 28, 28, dtype=torch.uint8),)
    program = torch.onnx.export(
        model.eval(),
        example,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["images"],
        output_names=["logits"],
        opset_version=18,
        verbose=False,
    )
    proto = program.model_proto
    for node in proto.graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def parse() -> argparse.Namespace:
    """The options of the command line, checked before any work is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path("/usr/share/datasets/fashion-mnist")
    parser.add_argument("--data", type=Path, default=data, help="folder of the four idx.gz files")
    parser.add_argument("--output", type=Path, default=Path("fashion-mnist"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=2, help="of the training")
    parser.add_argument("--limit", type=int, help="images of each part, fewer for a quick look")
    parser.add_argument("--threads", type=int, default=2, help="of the training")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    options = parser.parse_args()
    if not options.force and options.output.exists() and any(options.output.iterdir()):
        parser.error(f"{options.output} is not empty; pass --force or another --output")
    return options


def main() -> None:
    """Train, export, measure."""
    options = parse()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    parts = {part: load(options.data, part, limit=options.limit) for part in PARTS}
    tensors = {part: tuple(torch.from_numpy(array.copy()) for array in arrays) for part, arrays in parts.items()}

    options.output.mkdir(parents=True, exist_ok=True)
    names = ("model.onnx", "untrained.onnx", "images.npy", "labels.npy")
    path, untrained, images, labels = (options.output / name for name in names)
    model = Network()
    to_onnx(model, untrained)
    train(model, *tensors["train"], epochs=options.epochs)
    print(f"accuracy on the test images: {accuracy(model, *tensors['t10k']):.1%}")
    to_onnx(model, path)
    np.save(images, np.concatenate([parts[part][0] for part in PARTS]))
    np.save(labels, np.concatenate([parts[part][1] for part in PARTS]))

    analysis = onnxrich.run(path, images, labels, init=untrained)
    analysis.save(options.output / "report", force=options.force)
    anchors = analysis.anchors
    print(f"D_LR {analysis.metrics['d_lr']:.4f} over {analysis.record.data.n:,} images; 0 is richest, 1 laziest")
    print(f"untrained {anchors.initial.d_lr:.4f}; features of this width that nothing shaped {anchors.unshaped:.2f}")
    print(f"Open {options.output / 'report' / 'report.html'} in a browser.")
    print(f"The same by command: onnxrich run {path} --init {untrained} --data {images} --labels {labels}")


if __name__ == "__main__":
    main()
