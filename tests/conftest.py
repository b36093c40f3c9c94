"""What all tests share."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxrich.frameworks.registry import load_adapters

# Started in the background, a process ignores interrupts, and so would all that it starts; tests of Ctrl-C need them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the path to install adapters in."""
    monkeypatch.syspath_prepend(tmp_path)
    load_adapters.cache_clear()
    yield tmp_path
    for file in tmp_path.glob("*.py"):
        sys.modules.pop(file.stem, None)
    load_adapters.cache_clear()
