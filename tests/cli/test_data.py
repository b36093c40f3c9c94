"""Options that say which data are read: each is the argument of the same name in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli._processes import onnxrich
from PIL import Image
from zoo_text import build

import onnxrich as library


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 2 × 2 colour images, and a folder of larger ones in two classes."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((12, 4)).astype(np.float32),
        "w2": rng.standard_normal((4, 3)).astype(np.float32),
    }
    body = "f = Flatten(x)\n a = MatMul(f, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    onnx.save_model(build(body, x="float[N,3,2,2] x", **weights), tmp_path / "model.onnx")
    for at in range(40):
        path = tmp_path / "photos" / ("cat", "dog")[at % 4 == 0] / f"{at:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos/cat/01.png").write_bytes(b"no image")
    return tmp_path


def test_every_option(folder: Path) -> None:
    """The command and the function give the same result, in the worker as in this process."""
    options = [
        "--resize", "3", "--crop", "2x2", "--resample", "bicubic", "--color", "bgr", "--scale", "1/255", "--mean",
        "0.4,0.5,0.6", "--std", "0.25", "--layout", "NCHW", "--limit", "18", "--shuffle", "--balanced", "--seed", "3",
        "--max-errors", "1",
    ]  # fmt: skip
    command = ["run", folder / "model.onnx", "--data", f"images:{folder / 'photos'}", "--json", *options]
    steps = library.Preprocessing(
        color="bgr", resize=3, resample="bicubic", crop=(2, 2), scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.25,),
        layout="NCHW",
    )  # fmt: skip
    reading = library.Reading(limit=18, shuffle=True, balanced=True, max_errors=1)
    twin = library.run(folder / "model.onnx", folder / "photos", reading=reading, preprocessing=steps, seed=3).to_dict()
    isolated = library.run(
        folder / "model.onnx", folder / "photos", reading=reading, preprocessing=steps, seed=3, isolate=True
    ).to_dict()
    done = onnxrich(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"] == twin["metrics"] == isolated["metrics"]
    assert found["data"] == twin["data"] == isolated["data"]
    assert found["data"]["class_names"] == ["cat", "dog"]
    assert found["data"]["preprocessing"]["declared_by"]["mean"] == "options"
    assert "fingerprint" in onnxrich(*(word for word in command if word != "--json")).stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--scale", "1/0"], "scale '1/0'; needed: finite numbers, scale and std not 0. Write scale as 0.5 or"),
        (["--mean", "a,b"], "mean 'a,b'; needed: finite numbers"),
        *(([f"--{name}", ""], f"{name} ''; needed: ") for name in ("resize", "crop", "scale", "mean", "std")),
        (["--resize", "0"], "resize '0'; needed: a side from 1 to 16,384, or height and width. Write resize as 28"),
        (["--crop", "1x2x3"], "crop '1x2x3'; needed: a side from 1"),
        (["--color", "cmyk"], "'cmyk' is not one of 'rgb', 'bgr', 'gray'"),
        (["--limit", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_options(option: list[str], message: str, folder: Path) -> None:
    """What is no number or no size is wrong usage, and the message says how to write it."""
    done = onnxrich("run", folder / "model.onnx", *option)
    assert done.returncode == 2
    assert message in done.stderr


def test_unreadable_image(folder: Path) -> None:
    """An unreadable image ends the command with its name and what to do."""
    done = onnxrich("run", folder / "model.onnx", "--data", folder / "photos", "--resize", "2x2", "--scale", "1/255")
    assert done.returncode == 1
    assert done.stderr == (
        "onnxrich: cat/01.png: no image; read are whole JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM files; needed: items "
        "that can be read. Fix or remove it, or pass --max-errors N to leave out up to N.\n"
    )
