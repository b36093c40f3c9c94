"""`onnxrich doctor`: what is here, and what to do about what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnxruntime
import pytest
from cli._processes import onnxrich, with_modules

from onnxrich import __version__
from onnxrich.engine.runtime import usable_cores


def test_doctor() -> None:
    """The versions, the providers and the cores are told; a healthy machine has no problem."""
    done = onnxrich("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for text in (__version__, onnxruntime.__version__, "CPUExecutionProvider", "numpy", "psutil"):
        assert text in done.stdout
    assert f"usable cores             {usable_cores()}\n" in done.stdout


def test_doctor_json() -> None:
    """`--json` is the same as one document."""
    done = onnxrich("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(found) == {"facts", "problems"}
    table = onnxrich("doctor").stdout
    # How much memory is free changes from one call to the next.
    free = found["facts"].pop("memory limit")
    assert re.fullmatch(r"\S+ GiB, 90% of what is free now, without --max-memory|\S+ MiB, .*", free)
    assert "memory limit" in table and "90% of what is free now" in table
    assert all(name in table and value in table for name, value in found["facts"].items())
    assert ("No problem was found." in table) == (found["problems"] == [])
    assert found["problems"] == [] or all({"code", "message"} == set(problem) for problem in found["problems"])


@pytest.mark.parametrize(
    "broken",
    [
        "print('loading'); raise ImportError('libcudart.so.13')",
        "import os, signal; os.kill(os.getpid(), 11)",
    ],
)
def test_broken_runtime(tmp_path: Path, broken: str) -> None:
    """A runtime that can't be imported, or dies of it, is a finding with its remedy, and no crash of the doctor."""
    (tmp_path / "onnxruntime.py").write_text(broken)
    done = onnxrich("doctor", env=with_modules(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "! onnxruntime can't be imported" in done.stdout and "pip install" in done.stdout
    assert "providers" not in done.stdout


def test_two_runtimes(tmp_path: Path) -> None:
    """Both runtime wheels at once, which overwrite each other, are found, with the commands that mend it."""
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-9.9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 9.9.9\n")
        (info / "top_level.txt").write_text("onnxruntime\n")
        (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")
    done = onnxrich("doctor", "--json", env=with_modules(tmp_path))
    (problem,) = [each for each in json.loads(done.stdout)["problems"] if each["code"] == "two_runtimes"]
    assert "onnxruntime and onnxruntime-gpu are both installed" in problem["message"]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problem["message"]
