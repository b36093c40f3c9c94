"""The corpus of hostile cases through the real command line, with its default options."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile.case import check
from hostile.corpus import CASES

# Each eighteenth case is run by the core suite; they begin at different kinds.
SAMPLE = sorted(CASES)[::18]


@pytest.mark.parametrize("name", SAMPLE)
def test_sample(name: str, tmp_path: Path) -> None:
    """A hostile case ends soon, in little memory, with one line that says why, or with right numbers."""
    check(CASES[name], tmp_path)


@pytest.mark.extensive
@pytest.mark.parametrize("name", sorted(set(CASES) - set(SAMPLE)))
def test_case(name: str, tmp_path: Path) -> None:
    """The same for all others."""
    check(CASES[name], tmp_path)


def test_number_of_cases() -> None:
    """The corpus holds all kinds, and more than 150 cases of them."""
    kinds = {name.partition("-")[0] for name in CASES}
    assert kinds == {
        "data", "environment", "folder", "limit", "model", "name", "output", "saved", "settings", "side", "stream",
    }  # fmt: skip
    assert len(CASES) >= 150
