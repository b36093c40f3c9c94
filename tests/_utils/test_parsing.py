"""JSON and TOML of unknown authors: a value, or a ValueError of one line."""

from __future__ import annotations

import math

import pytest

from onnxrich._utils.parsing import parse_json, parse_toml


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\xff", b"\0\0\0\0", b'{"a": 1, "a": 1}', b"1" * 5000, b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "cut", "bytes", "null", "twice", "digits", "deep list", "deep object"],
)
def test_flawed_json(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,200}$"):
        parse_json(content)


def test_json_of_other_programs() -> None:
    """Configurations of Hugging Face hold Infinity, and files of Windows begin with a mark of their encoding."""
    assert parse_json(b'\xef\xbb\xbf{"time_step_limit": [0.0, Infinity]}') == {"time_step_limit": [0.0, math.inf]}


@pytest.mark.parametrize(
    "content", [b"a", b"a = 1\na = 2", b"\xff", b"a = \0", b"a = " + b"[" * 8000, b"a = " + b"1" * 5000],
    ids=["cut", "twice", "bytes", "null", "deep", "digits"],
)  # fmt: skip
def test_flawed_toml(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,200}$"):
        parse_toml(content)
