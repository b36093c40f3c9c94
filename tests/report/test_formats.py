"""The formats of a report load their libraries when they are used."""

from __future__ import annotations

import subprocess
import sys


def loaded(statement: str) -> set[str]:
    """Which libraries of the formats are loaded after a statement, in a new interpreter."""
    libraries = {"matplotlib", "jinja2", "rich", "numpy"}
    program = f"import sys; {statement}; print(*({libraries} & set(sys.modules)))"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_package_loads_nothing() -> None:
    """`onnxrich.report` itself loads no library."""
    assert loaded("import onnxrich.report") == set()


def test_files_load_no_format() -> None:
    """A command that only asks whether it may write loads no library of a format."""
    assert loaded("from onnxrich.report import files") == set()


def test_figures_load_matplotlib_when_drawn() -> None:
    """The modules of figures and of the page load no matplotlib before the first figure or page."""
    assert loaded("from onnxrich.report import figure, html") == {"numpy", "jinja2"}
