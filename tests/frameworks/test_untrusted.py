"""Documents and files of strangers are read as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxrich.errors import AdapterError
from onnxrich.frameworks.untrusted import read_bytes, refuse_pickle, walk_entries


def test_walk_entries() -> None:
    """Entries at any depth are found, also in lists and below entries that match."""
    document = {"a": {"b": 1}, "c": [{"b": 2}, [{"d": {"b": 3}}]]}
    assert sorted(value for key, value in walk_entries(document) if key == "b") == [1, 2, 3]
    assert {key for key, _ in walk_entries(document)} == {"a", "b", "c", "d"}
    assert list(walk_entries("text")) == []


def test_read_bytes(tmp_path: Path) -> None:
    """A regular file is read whole; a folder is refused with what was needed."""
    (tmp_path / "model").write_bytes(b"content")
    assert read_bytes(tmp_path / "model", "a model") == b"content"
    with pytest.raises(AdapterError, match=r"is a folder.*a model"):
        read_bytes(tmp_path, "a model")


def test_refuse_pickle(tmp_path: Path) -> None:
    """Suffix and content tell a pickle; folders and other files pass."""
    for name, content in (("a.PT", b""), ("a.onnx", b"\x80\x04")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AdapterError, match="is a pickle"):
            refuse_pickle(tmp_path / name)
    (tmp_path / "a.keras").write_bytes(b"PK\x03\x04")
    refuse_pickle(tmp_path / "a.keras")
    refuse_pickle(tmp_path)
