"""The code of `docs/FRAMEWORKS.md`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from repository import ROOT

FRAMEWORKS = ROOT / "docs" / "FRAMEWORKS.md"


def assert_runs(section: str, folder: Path) -> None:
    """The code of a section runs in a folder, in a process of its own."""
    code = re.search(
        rf"^## {re.escape(section)}$.*?```python\n(.*?)```", FRAMEWORKS.read_text(), re.DOTALL | re.MULTILINE
    )
    assert code, section
    command = [sys.executable, "-W", "ignore", "-c", code[1]]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert process.returncode == 0, process.stderr
