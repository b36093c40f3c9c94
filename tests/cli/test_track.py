"""`onnxrich track`, the whole command."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from cli import _models
from cli._processes import onnxrich


def checkpoints(folder: Path) -> Path:
    """Three checkpoints, of which the names alone say the steps."""
    model = onnx.load(_models.model(folder))
    (folder / "run").mkdir()
    for step in (2, 10, 100):
        weights = model.graph.initializer[0]
        weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 0.9, weights.name))
        onnx.save(model, folder / "run" / f"step-{step}.onnx")
    return folder / "run"


@pytest.mark.slow
def test_table_csv_json_and_files(tmp_path: Path) -> None:
    """The table on stdout, or CSV, or JSON; files that appear together."""
    run, data = checkpoints(tmp_path), _models.data(tmp_path)
    done = onnxrich("track", run, "--data", data, "--init", run / "step-2.onnx", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "no transition" in done.stdout and "change of d_lr" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {".onnxrich.json", "track.json", "track.csv", "report.html", "figure.png", "figure.svg"}
    document = json.loads((tmp_path / "out" / "track.json").read_text())
    assert document["steps"] == [2, 10, 100]
    csv = onnxrich("track", str(run / "step-*.onnx"), "--data", data, "--csv")
    assert [line.split(",")[0] for line in csv.stdout.splitlines()] == ["step", "2", "10", "100"]


@pytest.mark.slow
def test_failures(tmp_path: Path, folder: Path) -> None:
    """A broken checkpoint is named, a hanging one ended, and nothing is written."""
    run, data = checkpoints(tmp_path), _models.data(tmp_path)
    (run / "step-100.onnx").write_bytes(b"no model")
    broken = onnxrich("track", run, "--data", data, "-o", tmp_path / "out")
    assert (broken.returncode, broken.stdout) == (1, "") and "step-100.onnx" in broken.stderr
    late = onnxrich("track", folder / "endless_running.onnx", "--data", data, "--timeout", "4", "-o", tmp_path / "out")
    assert (late.returncode, late.stdout) == (1, "") and "not done after 4 s" in late.stderr
    assert not (tmp_path / "out").exists()
    assert onnxrich("track", run, "--csv", "--json").returncode == 2
