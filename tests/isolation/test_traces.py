"""What a run touches: no network, and no file but the model, the data, the output and Python's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from zoo_text import two_layers

STRACE = shutil.which("strace")
CAN_TRACE = (
    STRACE is not None and subprocess.run([STRACE, "-qq", "-o", os.devnull, "true"], check=False).returncode == 0
)
# A call that makes or changes a file, or that reaches another machine.
WRITES = re.compile(r"(?:openat|open|creat|mkdir|mkdirat|rename\w*|unlink\w*|symlink\w*|link\w*)\((.*)")
REACHES = re.compile(r"(?:connect|sendto|sendmsg|bind)\(.*sa_family=AF_INET")
LIBRARY = "import sys, onnxrich; onnxrich.run(sys.argv[1], sys.argv[2], device='cpu').save(sys.argv[3])"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model, data, and an empty home and folder of temporary files."""
    for name in ("home", "temporary", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "work/model.onnx").write_bytes(two_layers().SerializeToString())
    rows = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    np.savez(tmp_path / "work/data.npz", x=rows)
    return tmp_path


def command(kind: str) -> list[str]:
    arguments = ["model.onnx", "data.npz", "report"]
    if kind == "library":
        return [sys.executable, "-P", "-c", LIBRARY, *arguments]
    model, data, output = arguments
    return [sys.executable, "-P", "-m", "onnxrich", "run", model, "--data", data, "--device", "cpu", "--output", output]


def environment(place: Path) -> dict[str, str]:
    """An environment that asks for telemetry, with folders whose content shows it."""
    own = {"HOME": str(place / "home"), "TMPDIR": str(place / "temporary"), "ORT_DISABLE_TELEMETRY": "0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    return kept | own


def left_in(folder: Path) -> list[str]:
    """Files that stay; matplotlib keeps its list of fonts."""
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if "matplotlib" not in str(path) and path.is_file()
    ]


@pytest.mark.parametrize("kind", ["library", "command"])
def test_nothing_is_left_behind(place: Path, kind: str) -> None:
    """The runtime's telemetry is off whatever the environment says: no device id, no session file."""
    subprocess.run(command(kind), cwd=place / "work", env=environment(place), check=True, capture_output=True)
    assert left_in(place / "home") == []
    assert left_in(place / "temporary") == []
    assert (place / "work/report/analysis.json").exists()


@pytest.mark.skipif(not CAN_TRACE, reason="no tracing: apt-get install strace, where processes may be traced")
@pytest.mark.parametrize("kind", ["library", "command"])
def test_nothing_is_reached(place: Path, kind: str) -> None:
    """No process of a run connects to a network, or changes a file outside its output and its temporary files."""
    trace = place / "trace"
    calls = "trace=network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat"
    subprocess.run(
        [str(STRACE), "-f", "-qq", "-e", calls, "-o", str(trace), *command(kind)],
        cwd=place / "work", env=environment(place), check=True, capture_output=True,
    )  # fmt: skip
    lines = trace.read_text(errors="replace").splitlines()
    assert [line for line in lines if REACHES.search(line)] == []
    allowed = (str(place), "report", "/dev/null", "/dev/shm", "/dev/tty", ".", "model", "data")
    changed = [line for line in lines if "O_CREAT" in line or (WRITES.search(line) and "O_RDONLY" not in line)]
    paths = {match.group(1) for line in changed if (match := re.search(r'"([^"]*)"', line))}
    assert {path for path in paths if not path.startswith(allowed) and "__pycache__" not in path} == set()
