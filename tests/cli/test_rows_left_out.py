"""`--mask` and `--ignore-label` of run, compare and track."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import oracle
import pytest
from cli._processes import onnxrich
from zoo_text import build, whole

N, T = 40, 4
X = np.random.default_rng(1).integers(-3, 4, (N, T, 6)).astype(np.float32)
PADDING = np.arange(T) >= np.arange(N)[:, None] % T + 1
LABELS = np.random.default_rng(2).integers(0, 3, (N, T))
VOID = np.random.default_rng(3).random((N, T)) < 0.2
FEATURES = np.maximum(X.astype(float) @ whole(6, 8, seed=1), 0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model of tokens with an inverted mask, and its data with void labels."""
    body = "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)\n seen = Identity(padding_mask)"
    proto = build(body, x="float[N,T,6] x, bool[N,T] padding_mask", y="float[N,T,3] y")
    onnx.save(proto, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=X, padding_mask=PADDING, labels=np.where(VOID, 255, LABELS).astype(np.uint8))
    return tmp_path / "model.onnx", tmp_path / "data.npz"


def test_the_mask_has_to_be_named(files: tuple[Path, Path]) -> None:
    model, data = files
    done = onnxrich("run", model, "--data", data)
    assert done.returncode == 1
    assert "--mask padding_mask if 0 marks padding, --mask not:padding_mask if 1 does" in done.stderr
    assert len(done.stderr) < 300


@pytest.mark.parametrize("command", ["run", "compare", "track"])
def test_rows_left_out_by_a_mask_and_a_label(command: str, files: tuple[Path, Path]) -> None:
    model, data = files
    models = [model, model] if command == "compare" else [model]
    options = ["--mask", "not:padding_mask", "--ignore-label", "255", "--device", "cpu", "--json"]
    done = onnxrich(command, *models, "--data", data, *options)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = document if command == "run" else document["analyses"][0]
    kept = ~PADDING & ~VOID
    features = FEATURES[kept]
    # Sums in double about a shift: 1e-12 of a number near 1.
    assert found["metrics"]["d_lr"] == pytest.approx(oracle.d_lr(features, features @ whole(8, 3, seed=2)), abs=1e-12)
    assert found["head"]["mask"] == "not:padding_mask"
    assert (found["data"]["n"], found["data"]["classes"]) == (kept.sum(), 3)


def test_labels_to_ignore_are_a_whole_number(files: tuple[Path, Path]) -> None:
    model, data = files
    done = onnxrich("run", model, "--data", data, "--ignore-label", "void")
    assert done.returncode == 2 and "'void' is not a valid integer" in done.stderr
    done = onnxrich("run", model, "--data", data, "--mask", "none", "--ignore-label", "-100", "--json")
    assert json.loads(done.stdout)["data"]["n"] == N * T
