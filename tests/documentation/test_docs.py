"""What the documentation says is true: its commands and its code run, and every option is explained."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from repository import ROOT

import onnxrich
from onnxrich.cli import cli
from onnxrich.metrics.registry import MEANINGS

README = (ROOT / "README.md").read_text()
METRICS = (ROOT / "docs" / "METRICS.md").read_text()
COMMAND = str(Path(sys.executable).with_name("onnxrich"))


def blocks(language: str) -> list[str]:
    """Fenced blocks of the README in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models, checkpoints and `test.npz`, as the README assumes."""
    (tmp_path / "checkpoints").mkdir()
    for source, name in (
        ("rich", "model"),
        ("lazy", "other"),
        ("lazy", "untrained"),
        ("lazy", "checkpoints/step-0"),
        ("rich", "checkpoints/step-9"),
    ):
        shutil.copy(onnxrich.demo_file(f"{source}.onnx"), tmp_path / f"{name}.onnx")
    with np.load(onnxrich.demo_file("evaluation.npz")) as data:
        np.savez(tmp_path / "test.npz", **data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_readme_commands(workplace: Path) -> None:
    """Every onnxrich command of the README ends with exit code 0, one after the other."""
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("onnxrich ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line.split("  #")[0])
        completed = subprocess.run([COMMAND, *words[1:]], capture_output=True, text=True, check=False, cwd=workplace)
        assert completed.returncode == 0, f"{line}\n{completed.stderr}"


def test_readme_python(workplace: Path) -> None:
    """Every Python block of the README runs."""
    code = blocks("python")
    assert len(code) >= 2
    for block in code:
        completed = subprocess.run(
            [sys.executable, "-c", block], capture_output=True, text=True, check=False, cwd=workplace
        )
        assert completed.returncode == 0, completed.stderr


def test_readme_is_short() -> None:
    """The README can be read at once, and the files that it points to are there."""
    assert len(README.splitlines()) <= 120
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", MEANINGS)
def test_metrics_are_documented(name: str) -> None:
    """Each metric stands in docs/METRICS.md."""
    assert f"`{name}`" in METRICS


def test_warnings_are_documented() -> None:
    """Each code of a notice in the source stands in docs/METRICS.md."""
    source = "\n".join(path.read_text() for path in (ROOT / "onnxrich").rglob("*.py"))
    codes = set(re.findall(r'Notice\(\s*"([a-z0-9_]+)"', source)) - {"two_runtimes", "no_runtime", "no_cuda_libraries"}
    assert len(codes) >= 6
    for code in codes:
        assert f"`{code}`" in METRICS, code


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_commands_explain_themselves(name: str) -> None:
    """Each command has a help text with an example, and each of its options has one too."""
    command = cli.commands[name]
    assert command.help
    assert f"onnxrich {name}" in command.help + (command.epilog or "")
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def test_version_stands_in_one_place() -> None:
    """The version of the package is the one that the metadata give."""
    from importlib.metadata import version

    assert version("onnxrich") == onnxrich.__version__


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FOLDERS = re.findall(r"^\| `([\w/]+)/` \| .+ \|$", CONTRIBUTING, re.MULTILINE)
# Paths in backquotes: those with a slash, and files whose kind has a page or a meaning of its own.
PATHS = re.findall(r"`((?:\.?[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml|py))`", CONTRIBUTING)


def test_each_folder_has_its_line() -> None:
    """The map of CONTRIBUTING has one line for each folder of the package, and one for each folder beside it."""
    package = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "onnxrich").rglob("__init__.py")}
    assert sorted(FOLDERS) == sorted(package | {"adapters", "benchmarks", "docs", "examples", "tests"})


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_named_paths_exist(path: str) -> None:
    """Each path that CONTRIBUTING names exists, in the repository, in the package, or in the folder of its line."""
    made_by_tests = {"build/models", "report.html"}
    lines = [line for line in CONTRIBUTING.splitlines() if f"`{path}`" in line]
    folders = [folder for line in lines for folder in re.findall(r"^\| `([\w/]+)/`", line)]
    roots = [ROOT, ROOT / "onnxrich", *(ROOT / folder for folder in folders)]
    assert path in made_by_tests or any((root / path).exists() for root in roots)


def test_commands_of_make_exist() -> None:
    """Each `make` command of README and CONTRIBUTING is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    commands = set(re.findall(r"\bmake ([a-z-]+)(?=`|\s*#|\n)", README + CONTRIBUTING))
    assert {"demo", "test", "test-all"} <= commands
    for name in commands:
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name
