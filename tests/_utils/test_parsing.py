"""JSON and TOML of unknown authors: a value, or a ValueError of one line."""

from __future__ import annotations

import json
import math

import pytest

from onnxrich._utils import parsing
from onnxrich._utils.parsing import DEEPEST, parse_json, parse_toml


@pytest.mark.parametrize("value", [{"a": [1, -2.5, True, None, "é"]}, [], "", 0, 2**63 - 1, -(2**63)])
def test_documents(value: object) -> None:
    """What JSON can say comes back."""
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "'a'", "\ufeff{}", b"\xff\xfe{}", "{}".encode("utf-16"), b'"\xc3"', "1" * 5000, "1" * 100_000,
        str(2**63), "-" + "9" * 30, "1e400", "NaN", "[Infinity]", "-Infinity", "[" * 100_000, '{"a":' * 100_000,
        '{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', "[1,]", "{1: 2}", "[1] x", "\0",
    ],
)  # fmt: skip
def test_what_is_refused(text: str | bytes) -> None:
    """No number that JSON has not, none that loses digits, no name twice, and no text that exhausts a parser."""
    with pytest.raises(ValueError, match=r"^[^\n]{1,200}$"):
        parse_json(text)


def test_depth() -> None:
    """What is nested a little is read; what an encoder could not write again is not."""
    for depth, is_read in ((DEEPEST, True), (DEEPEST + 1, False), (500, False)):
        text = "[" * depth + "]" * depth
        if is_read:
            assert json.dumps(parse_json(text)) == text
        else:
            with pytest.raises(ValueError, match="too deeply"):
                parse_json(text)


def test_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document of a gigabyte is not parsed."""
    monkeypatch.setattr(parsing, "LARGEST", 10)
    assert parse_json('"12345678"') == "12345678"
    with pytest.raises(ValueError, match="more than 10 characters"):
        parse_json('"123456789"')


def test_infinity_where_it_has_a_meaning() -> None:
    """Configurations of Hugging Face hold Infinity, and files of Windows begin with a mark of their encoding."""
    content = b'\xef\xbb\xbf{"time_step_limit": [0.0, Infinity]}'
    assert parse_json(content, is_finite=False) == {"time_step_limit": [0.0, math.inf]}
    with pytest.raises(ValueError, match="the number Infinity"):
        parse_json(content)


def test_limits_of_configurations() -> None:
    """Tokenizers of Hugging Face without a limit write int(1e30), here in its digits."""
    content = b'{"model_max_length": 1000000000000000019884624838656}'
    assert parse_json(content, is_finite=False) == {"model_max_length": 1e30}
    with pytest.raises(ValueError, match="beyond those of 64 bits"):
        parse_json(content)
    with pytest.raises(ValueError, match="beyond those of 64 bits"):
        parse_json("1" * 400, is_finite=False)


@pytest.mark.parametrize(
    "content", [b"a", b"a = 1\na = 2", b"\xff", b"a = \0", b"a = " + b"[" * 8000, b"a = " + b"1" * 5000],
    ids=["cut", "twice", "bytes", "null", "deep", "digits"],
)  # fmt: skip
def test_flawed_toml(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,200}$"):
        parse_toml(content)
