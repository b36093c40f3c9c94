"""Data sets of Hugging Face on disk: their splits, and files outside of their folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data.formats.files import in_hub
from zoo_text import refused, source_of, two_layers

from onnxrich.errors import DataError


def test_splits(tmp_path: Path) -> None:
    """A folder of several splits is refused with their names."""
    path = in_hub(tmp_path).parent
    with refused(DataError, "set holds several splits (train, test); needed: one of them. Pass hf:", "set/SPLIT."):
        source_of(two_layers(), path)


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "sub/data.arrow", "..", "", 7, None])
def test_hub_reads_its_own_folder(name: Any, tmp_path: Path) -> None:
    """Files outside the folder are not read because a file says so."""
    path = in_hub(tmp_path)
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with refused(DataError, "Arrow files of the same folder" if isinstance(name, str) else "none"):
        source_of(two_layers(), path) if isinstance(name, str) else _none(path)


def _none(path: Path) -> None:
    try:
        source_of(two_layers(), path)
    except DataError as error:
        assert "No such file" in str(error)
        raise DataError("none", "none", "none") from error
