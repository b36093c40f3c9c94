"""The examples run as their docstrings say, on fewer rows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT

FASHION = Path("/usr/share/datasets/fashion-mnist")

pytestmark = [pytest.mark.torch, pytest.mark.slow]


def run(script: str, *arguments: str | Path) -> str:
    """What an example prints."""
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def write_idx(path: Path, array: np.ndarray) -> None:
    """A file in MNIST's format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def test_demo_models(tmp_path: Path) -> None:
    """The script that makes the demo's models trains, writes and measures both, on images made up here."""
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (10, 28, 28))
    for split, rows in (("train", 2_000), ("t10k", 10_000)):
        labels = rng.integers(0, 10, rows)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", digits[labels])
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", labels)
    printed = run("01_make_demo_models.py", "--mnist", tmp_path, "--output", tmp_path / "demo", "--epochs", "2")
    assert "rich: D_LR" in printed
    assert "lazy: D_LR" in printed
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"rich.onnx", "lazy.onnx", "evaluation.npz"}


def test_fashion_mnist(tmp_path: Path) -> None:
    """The CNN is trained, exported, and measured on Fashion-MNIST, with a report at the end."""
    if not FASHION.exists():
        pytest.skip("no Fashion-MNIST: apt-get install dataset-fashion-mnist")
    printed = run(
        "02_fashion_mnist_cnn.py", "--data", FASHION, "--output", tmp_path / "out", "--limit", "2000", "--epochs", "1"
    )
    assert "D_LR" in printed
    assert list(tmp_path.rglob("report.html"))


def test_training_callback(tmp_path: Path) -> None:
    """A network that trains as a whole turns rich before one's eyes; without a screen the plot is a file."""
    printed = run("03_training_callback.py", "--output", tmp_path / "out", "--epochs", "8")
    d_lr = {
        name: [float(value) for value in re.findall(rf"{name}, epoch \d+: D_LR ([\d.]+)", printed)]
        for name in ("all layers", "last layer alone")
    }
    assert [len(values) for values in d_lr.values()] == [9, 9]
    assert d_lr["all layers"][0] == d_lr["last layer alone"][0] > 0.5
    assert d_lr["all layers"][-1] < 0.15
    assert d_lr["last layer alone"][-1] > 0.3
    assert (tmp_path / "out" / "training.png").stat().st_size > 10_000
    assert len(list((tmp_path / "out").rglob("step-*.json"))) == 18


def test_grokking(tmp_path: Path) -> None:
    """A short run writes its first and last checkpoint, its data and its figure, and measures both checkpoints."""
    printed = run("04_grokking.py", "--output", tmp_path / "out", "--steps", "20")
    assert [line.split()[0] for line in printed.splitlines()[1:3]] == ["0", "20"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"step-000000.onnx", "step-000020.onnx", "train.npz", "test.npz", "grokking.png"}
