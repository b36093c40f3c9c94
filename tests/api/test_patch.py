"""Exposed and instrumented models run anywhere, and give the numbers of `onnxrich run`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from repository import ROOT, ZOO

import onnxrich
from onnxrich.errors import DataError, HeadError, ModelError, OutputError

PAGE = (ROOT / "docs" / "INSTRUMENT.md").read_text()
NODE = ROOT / "tests" / "node"

# The same float32 model in other batches and another session.
THROUGH_FLOAT32 = 1e-6


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with an instrumented demo model and its data, as the page assumes."""
    onnxrich.instrument(onnxrich.demo_file("rich.onnx"), tmp_path / "summed.onnx", onnxrich.demo_file("evaluation.npz"))
    shutil.copy(onnxrich.demo_file("evaluation.npz"), tmp_path / "test.npz")
    return tmp_path


def expected() -> dict:
    return onnxrich.run(onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")).metrics


def test_page_in_python(workplace: Path) -> None:
    """The Python of the page, run without onnxrich and then with it, gives D_LR as `onnxrich.run` does."""
    collect, measure = blocks("python")
    assert "onnxrich\n" not in collect
    for code in (collect, measure):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=workplace)
        assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(expected()["d_lr"], abs=THROUGH_FLOAT32)


@pytest.mark.slow
def test_page_in_javascript(workplace: Path) -> None:
    """The JavaScript of the page sums the same moments."""
    if shutil.which("node") is None or not (NODE / "node_modules").is_dir():
        pytest.skip("no onnxruntime-node: apt-get install nodejs npm; npm install --ignore-scripts --prefix tests/node")
    with np.load(workplace / "test.npz") as data:
        (workplace / "images.bin").write_bytes(data["x"].tobytes())
    environment = os.environ | {"NODE_PATH": str(NODE / "node_modules")}
    command = ["node", "-e", blocks("javascript")[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=workplace, env=environment)
    assert done.returncode == 0, done.stderr
    session = ort.InferenceSession(workplace / "summed.onnx", providers=["CPUExecutionProvider"])
    shapes = [entry.shape for entry in session.get_inputs() if "onnxrich." in entry.name]
    sums = [np.fromfile(workplace / f"sum-{j}.bin").reshape(shape) for j, shape in enumerate(shapes)]
    moments = onnxrich.Moments.from_accumulators(sums, session.get_modelmeta().custom_metadata_map)
    assert onnxrich.measure(moments)[0]["d_lr"] == pytest.approx(expected()["d_lr"], abs=THROUGH_FLOAT32)


@pytest.mark.parametrize("name", ["torch/mlp_dynamo", "torch/squeezenet_dynamo", "text/temperature", "derived/qdq_mlp"])
def test_exposed_features_are_the_truth(tmp_path: Path, name: str) -> None:
    """An exposed model passes the checker, gives its own outputs, and the framework's features besides."""
    entry = next(line for line in json.loads((ZOO / "zoo.json").read_text()) if line["file"] == f"{name}.onnx")
    path = ZOO / entry["file"]
    before = path.read_bytes()
    names = onnxrich.expose(path, tmp_path / "exposed.onnx")
    assert path.read_bytes() == before
    onnx.checker.check_model(onnx.load(tmp_path / "exposed.onnx"), full_check=True)
    with np.load(ZOO / entry["truth"]) as truth:
        feed = {key.removeprefix("input/"): truth[key] for key in truth if key.startswith("input/")}
        features, logits = truth["features"], truth["logits"]
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    patched = ort.InferenceSession(tmp_path / "exposed.onnx", providers=["CPUExecutionProvider"])
    own = [output.name for output in plain.get_outputs()]
    for a, b in zip(plain.run(own, feed), patched.run(own, feed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # optimised apart: fusions may round differently
    got_features, got_logits = patched.run(list(names), feed)
    assert np.abs(got_features - features).max() <= entry["rtol_features"] * np.abs(features).max()
    scaled = (got_logits - entry.get("shift_after", 0.0)) / entry.get("scale_after", 1.0)
    apart = min(np.abs(got_logits - logits).max(), np.abs(scaled - logits).max())
    assert apart <= entry["rtol_logits"] * np.abs(logits).max()


def test_shift_keeps_digits_and_changes_nothing_else(tmp_path: Path) -> None:
    """With and without data for a shift the moments describe the same rows."""
    model, data = onnxrich.demo_file("lazy.onnx"), dict(np.load(onnxrich.demo_file("evaluation.npz")))
    found = []
    for name, given in (("a.onnx", None), ("b.onnx", data["x"])):
        onnxrich.instrument(model, tmp_path / name, None if given is None else {"x": given})
        session = ort.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        feed = {entry.name: np.zeros(entry.shape) for entry in session.get_inputs() if "onnxrich." in entry.name}
        sums = session.run([f"{key}.next" for key in feed], {"x": data["x"], **feed})
        moments = onnxrich.Moments.from_accumulators(sums, session.get_modelmeta().custom_metadata_map)
        found.append(onnxrich.measure(moments)[0]["d_lr"])
    assert found[0] == pytest.approx(found[1], abs=1e-9)


@pytest.mark.parametrize("isolate", [False, True])
def test_not_instrumented_twice(tmp_path: Path, isolate: bool) -> None:
    """An instrumented model is told as such; its features can be looked at, and it sums all the same."""
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    onnxrich.instrument(onnxrich.demo_file("rich.onnx"), once)
    with pytest.raises(ModelError) as caught:
        onnxrich.instrument(once, twice, isolate=isolate)
    assert str(caught.value) == (
        f"{once} is instrumented already; needed: a model without accumulators. Pass the model from which it was made, "
        "or run this one in any ONNX runtime."
    )
    assert not twice.exists()
    rich, data = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
    for measure in (lambda: onnxrich.run(once, data, isolate=isolate), lambda: onnxrich.compare([rich, once], data)):
        with pytest.raises(ModelError, match="is instrumented already; needed: a model without accumulators"):
            measure()
    onnxrich.expose(once, twice, isolate=isolate)
    assert len(ort.InferenceSession(twice).get_outputs()) == len(ort.InferenceSession(once).get_outputs()) + 2


def test_files_are_not_replaced(tmp_path: Path) -> None:
    """A file that is there is kept, unless force says otherwise."""
    target = tmp_path / "exposed.onnx"
    target.write_text("mine")
    with pytest.raises(OutputError, match="is there; needed: a new file"):
        onnxrich.expose(onnxrich.demo_file("rich.onnx"), target)
    assert target.read_text() == "mine"
    onnxrich.expose(onnxrich.demo_file("rich.onnx"), target, force=True, isolate=True)
    assert target.stat().st_size > 700_000


def test_the_model_itself_is_never_replaced(tmp_path: Path) -> None:
    """Not even with force is a model written over: it is the only one of its kind."""
    path = shutil.copy(onnxrich.demo_file("rich.onnx"), tmp_path / "m.onnx")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="is the model itself"):
        onnxrich.expose(path, path, force=True)
    assert path.read_bytes() == before


def test_external_weights_stay_where_they_are(tmp_path: Path) -> None:
    """A model with external weights is written beside them, or not at all."""
    for file in ("external_data.onnx", "external_data.onnx.data"):
        shutil.copy(ZOO / "torch" / file, tmp_path / file)
    (tmp_path / "other").mkdir()
    with pytest.raises(OutputError, match="an output in the same folder"):
        onnxrich.expose(tmp_path / "external_data.onnx", tmp_path / "other" / "e.onnx")
    onnxrich.expose(tmp_path / "external_data.onnx", tmp_path / "e.onnx")
    ort.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])


def test_no_head_no_file(tmp_path: Path) -> None:
    """Without a head there is an error and no file."""
    with pytest.raises(HeadError):
        onnxrich.instrument(ZOO / "text" / "detector_two_scales.onnx", tmp_path / "i.onnx")
    assert list(tmp_path.iterdir()) == []


def test_foreign_metadata() -> None:
    """Sums of a model that onnxrich did not instrument are refused."""
    with pytest.raises(DataError, match="onnxrich instrument"):
        onnxrich.Moments.from_accumulators([np.zeros((3, 3))], {"producer": "else"})
