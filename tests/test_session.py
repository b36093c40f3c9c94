"""Rules of a test session: what belongs to another environment is not collected, and CI skips nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

SKIPPED = 'import pytest\n\n\ndef test_it():\n    pytest.skip("{}")\n'
OF_A_MODULE = 'import pytest\n\npytest.skip("{}", allow_module_level=True)\n'
PASSED = "def test_it():\n    pass\n"


def session(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str, ci: bool = True, **modules: str) -> tuple:
    """Return exit code and output of pytest on modules of tests, with the rules of this repository."""
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  torch\n  tensorflow\n")
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(text)
    monkeypatch.setenv("CI", "true") if ci else monkeypatch.delenv("CI", raising=False)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)]
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return completed.returncode, completed.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "option"), [(SKIPPED, "-n0"), (SKIPPED, "-n1"), (OF_A_MODULE, "-n0")], ids=["test", "worker", "module"]
)
def test_ci_fails_where_a_test_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, option: str
) -> None:
    """The session fails and names test and reason, in one process and in several."""
    code, output = session(tmp_path, monkeypatch, option, skipped=text.format("no Chromium"), passed=PASSED)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "skipped in CI, where every test runs" in output
    assert "test_skipped.py" in output and ": no Chromium" in output and "1 passed" in output


def test_ci_may_lack_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of a GPU are skipped on machines without one, in CI too."""
    code, output = session(tmp_path, monkeypatch, skipped=SKIPPED.format("no GPU: no driver"))
    assert code == 0 and "1 skipped" in output


def test_skipped_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of CI a skipped test is no failure."""
    code, output = session(tmp_path, monkeypatch, ci=False, skipped=SKIPPED.format("no Chromium"))
    assert code == 0 and "1 skipped" in output


def test_frameworks_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules and tests of a framework that is not installed are left out without being imported or skipped."""
    text = "import pytest\nimport framework\n\npytestmark = [\n    pytest.mark.slow,\n    pytest.mark.{},\n]\n"
    test = "import pytest\n\n\n@pytest.mark.{}\ndef test_it():\n    pass\n"
    modules = {name: text.format(name) for name in ("torch", "tensorflow")}
    tests = {f"one_of_{name}": test.format(name) for name in ("torch", "tensorflow")}
    conftest = "import importlib.util\n\nfind = importlib.util.find_spec\n"
    (tmp_path / "no_frameworks.py").write_text(
        f"{conftest}importlib.util.find_spec = lambda name: None if name in ('torch', 'tensorflow') else find(name)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = ["-p", "no_frameworks"]
    code, output = session(tmp_path, monkeypatch, *options, passed=PASSED, **modules, **tests)
    assert code == 0 and "1 passed, 2 deselected" in output and "skipped" not in output
