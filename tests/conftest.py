"""Fixtures and rules that all tests share: which tests an environment has, and that CI skips none of them."""

from __future__ import annotations

import ast
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from onnxrich.frameworks.registry import load_adapters

# Started in the background, a process ignores interrupts, and so would all that it starts; tests of Ctrl-C need them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take as long as a busy machine needs for it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Each framework has an environment of its own, and its tests have the marker of its name.
FRAMEWORKS = ("torch", "tensorflow", "jax", "sklearn")
MISSING_FRAMEWORKS = {name for name in FRAMEWORKS if importlib.util.find_spec(name) is None}

# The reasons to skip a test in CI: a machine has a GPU, or has none, or a container forbids to trace processes.
MACHINE_REASONS = ("no GPU", "a GPU exists", "no tracing")


def module_markers(path: Path) -> set[str]:
    """Return the names of the markers in the `pytestmark` of a test module, without importing it."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            return {node.attr for node in ast.walk(statement.value) if isinstance(node, ast.Attribute)}
    return set()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Ignore the modules of frameworks that this environment lacks: they belong to another environment."""
    if collection_path.suffix != ".py" or not MISSING_FRAMEWORKS & module_markers(collection_path):
        return None
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the single tests of frameworks that this environment lacks."""
    foreign = [item for item in items if any(item.get_closest_marker(name) for name in MISSING_FRAMEWORKS)]
    if foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


def pytest_configure(config: pytest.Config) -> None:
    """In CI, let skipped tests fail the session; with pytest-xdist the controller sees the reports of all workers."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoSkippedTests())


class NoSkippedTests:
    """Fails a session in which a test or a module was skipped for another reason than its machine."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test."""
        if not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a skipped module."""
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Give the session the exit code of failed tests."""
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what was skipped."""
        if self.skipped:
            terminalreporter.section("skipped in CI, where every test runs", red=True)
            terminalreporter.write("\n".join(self.skipped) + "\n")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            if not reason.startswith(MACHINE_REASONS):
                self.skipped.append(f"{report.nodeid}: {reason}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the path to install adapters in."""
    monkeypatch.syspath_prepend(tmp_path)
    load_adapters.cache_clear()
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)
    load_adapters.cache_clear()
