"""Where the repository and the zoo of exported models lie, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
ZOO = ROOT / "tests" / "zoo"
