"""`onnxrich compare`, the whole command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli import _models
from cli._processes import onnxrich


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two models and data."""
    folder = tmp_path_factory.mktemp("compare")
    first = _models.model(folder)
    second = first.with_name("second.onnx")
    second.write_bytes(first.read_bytes())
    return first, second, _models.data(folder)


@pytest.mark.slow
def test_table_files_and_json(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """The table is on stdout, the files in the folder, and both say what the JSON says."""
    first, second, data = pair
    done = onnxrich("compare", first, second, "--init", first, "--data", data, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for words in ("none.onnx", "second.onnx", "d_lr", "difference", "s_init", "CKA of features"):
        assert words in done.stdout
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    names = {".onnxrich.json", "comparison.json", "report.html", "figure.png", "figure.svg"}
    assert written == names | {
        f"{model}/{name}" for model in ("none", "second") for name in ("analysis.json", "moments.npz")
    }
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["cka"][0][1]["value"] == pytest.approx(1, abs=1e-12)
    saved = onnxrich("compare", *(tmp_path / "out" / name / "moments.npz" for name in ("none", "second")), "--json")
    assert json.loads(saved.stdout)["metrics"]["d_lr"] == document["metrics"]["d_lr"]
    again = onnxrich("compare", first, second, "--data", data, "-o", tmp_path / "out")
    assert again.returncode == 1 and "--force" in again.stderr and not again.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["compare", "a", "b", "-o", "a"],
        ["compare", "b", "--init", "a/moments.npz", "-o", "./a"],
        ["compare", "out/x/moments.npz", "b", "-o", "out"],
        ["compare", "a", "b", "-o", "."],
        ["track", "a", "b", "-o", "b"],
        ["track", "a/*.npz", "-o", "a"],
        ["track", "b", "--init", "a", "-o", "a"],
        ["render", "a", "-o", "a"],
        ["render", "b", "--evaluation", "out/x/moments.npz", "-o", "out"],
    ],
    ids=" ".join,
)
def test_reports_that_are_read_are_not_replaced(command: list[str], tmp_path: Path) -> None:
    """`--output` that is the report of an input is refused before anything is read, with `--force` too."""
    for name in ("a", "b", "out/x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "moments.npz").write_bytes(b"not read")
    listing = {"files": {"x/moments.npz": hashlib.sha256(b"not read").hexdigest()}}
    (tmp_path / "out" / ".onnxrich.json").write_text(json.dumps(listing))
    before = sorted(tmp_path.rglob("*"))
    done = onnxrich(*command, "--force", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and sorted(tmp_path.rglob("*")) == before
    assert "belongs to the report in" in done.stderr and "which would be replaced" in done.stderr
    assert done.stderr.endswith("needed: an output folder apart from the inputs. Choose another folder.\n")


def test_limits_and_failures(pair: tuple[Path, Path, Path], folder: Path, tmp_path: Path) -> None:
    """A deadline ends the worker, a crash is one line that names what was done, and nothing is written."""
    first, _, data = pair
    late = onnxrich(
        "compare", first, folder / "endless_running.onnx", "--data", data, "--timeout", "4", "-o", tmp_path / "o"
    )
    assert (late.returncode, late.stdout) == (1, "") and "not done after 4 s" in late.stderr
    crash = onnxrich("compare", first, folder / "crash_running.onnx", "--data", data, "-o", tmp_path / "o")
    assert (crash.returncode, crash.stdout) == (1, "") and "native code crashed" in crash.stderr
    assert not (tmp_path / "o").exists()
    assert onnxrich("compare").returncode == 2
