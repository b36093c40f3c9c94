"""Saved files at the command line: the worker process, its limits, and words for whatever they hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli._processes import onnxrich

SAVED = Path(__file__).parents[1] / "compatibility" / "0.1.0"
COMMANDS = (["render"], ["track"], ["compare", str(SAVED / "compared" / "other")])


@pytest.mark.parametrize("command", COMMANDS)
def test_limits(command: list[str]) -> None:
    """Saved files are read in the worker process, where a deadline and a limit of memory end the work."""
    report = SAVED / "labelled"
    late = onnxrich(*command, report, "--timeout", "0.01")
    assert late.returncode == 1 and "not done after 0.01 s" in late.stderr
    large = onnxrich(*command, report, "--max-memory", "1M")
    assert large.returncode == 1 and "memory" in large.stderr
    refused = onnxrich(*command, report, "--in-process", "--timeout", "9")
    assert refused.returncode == 2 and "need the worker process" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", [[], ["--in-process"]])
def test_edited_files(command: list[str], where: list[str], tmp_path: Path) -> None:
    """An edited file ends in one line, with and without the worker process, and nothing is written."""
    report = tmp_path / "report"
    shutil.copytree(SAVED / "labelled", report)
    with np.load(report / "moments.npz") as saved:
        arrays = dict(saved)
    arrays["matrix"][0, 0] += 1
    np.savez(report / "moments.npz", **arrays)
    done = onnxrich(*command, report, *where, "-o", tmp_path / "out")
    assert done.returncode == 1 and done.stdout == ""
    assert "holds moments that no rows have: its targets are not one class a row" in done.stderr
    assert "Traceback" not in done.stderr and "did not expect" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_other_numbers(tmp_path: Path) -> None:
    """A document with another number is told, and the number printed is that of the moments."""
    shutil.copytree(SAVED / "labelled", tmp_path / "report")
    path = tmp_path / "report" / "analysis.json"
    document = json.loads(path.read_text())
    d_lr = document["metrics"]["d_lr"]
    path.write_text(json.dumps(document | {"metrics": document["metrics"] | {"d_lr": 0.0123}}))
    done = onnxrich("render", tmp_path / "report", "--json")
    printed = json.loads(done.stdout)
    assert printed["metrics"]["d_lr"] == pytest.approx(d_lr)
    assert "other_numbers" in [warning["code"] for warning in printed["warnings"]]
