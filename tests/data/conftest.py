"""Fashion-MNIST, and models that take its images in every layout."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import build

FASHION = Path("/usr/share/datasets/fashion-mnist")
ROWS = 1000
NAMES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(scope="session")
def fashion() -> tuple[np.ndarray, np.ndarray]:
    """The first 1 000 test images, uint8 of shape (1000, 28, 28), and their labels."""
    if not FASHION.exists():
        message = "Fashion-MNIST is not installed (Debian package dataset-fashion-mnist)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    pixels = gzip.decompress((FASHION / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((FASHION / "t10k-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)[:ROWS]
    return images, np.frombuffer(labels, np.uint8, offset=8)[:ROWS]


@pytest.fixture(scope="session")
def network() -> Callable[[str], onnx.ModelProto]:
    """Makes a network over 784 pixels with 12 features and 10 classes, for an input of some shape."""

    def make(x: str = "float[N,1,28,28] x", name: str = "x") -> onnx.ModelProto:
        rng = np.random.default_rng(0)
        given: dict[str, Any] = {
            "w1": rng.standard_normal((784, 12)).astype(np.float32) / 28,
            "w2": rng.standard_normal((12, 10)).astype(np.float32),
        }
        body = f"r = Flatten({name})\n f = Cast<to = 1>(r)\n a = MatMul(f, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
        return build(body, x=x, y="float[N,10] y", **given)

    return make
