"""`onnxrich demo`: the embedded example shows that rich and accurate are not the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli._processes import onnxrich
from cli.test_run import assert_schema


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "report"


@pytest.mark.slow
def test_demo_json(report: Path) -> None:
    """Two documents in one list: D_LR of the rich model lies far below the lazy one's, its accuracy too."""
    done = onnxrich("demo", "--json", "-o", report)
    assert done.returncode == 0
    rich, lazy = json.loads(done.stdout)
    for found in (rich, lazy):
        assert_schema(found, labels=True)
    assert (rich["model"]["path"].endswith("rich.onnx"), lazy["model"]["path"].endswith("lazy.onnx")) == (True, True)
    assert rich["metrics"]["d_lr"] < 0.1 < 0.4 < lazy["metrics"]["d_lr"]
    assert rich["metrics"]["accuracy"] < 0.15 < 0.6 < lazy["metrics"]["accuracy"]
    assert done.stderr.splitlines()[-1] == f"wrote {report / 'report.html'}"
    assert {path.name for path in report.iterdir()} >= {"report.html", "figure.png", "figure.svg"}


def test_demo() -> None:
    """The table sets the models side by side, with an explanation; stderr is quiet."""
    done = onnxrich("demo", "--in-process")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("rich.onnx", "lazy.onnx", "d_lr", "accuracy", "richness is how a model learned, not how well"):
        assert text in done.stdout
