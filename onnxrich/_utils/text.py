"""Text for people and documents: what could steer or mislead is escaped, and names and messages have a greatest length.

Names come from untrusted files: tensors, operators, columns, classes, paths. Every output goes through these functions:
messages when they are built (`onnxrich.errors`), records of results when they are built, pages, figures and lines when
they are written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

# Characters in any output of a name, of the message of an error, and of a notice.
LONGEST_NAME, LONGEST_MESSAGE, LONGEST_NOTICE = 200, 300, 600
# Entries of documents that are sentences.
_SENTENCES = ("message", "reason")
# Lengths to which the names in a message are cut, one after the other, until the message fits.
_LENGTHS = (LONGEST_NAME, 100, 60, 40)
# Characters of a text that are looked at: patterns over more could take long.
_LOOKED_AT = 4000
# From this limit on, a name that was cut is told from others by a digest.
_TELLS_APART = 60
# Characters that show nothing, though Unicode counts them as letters, marks or symbols: fillers, selectors, blanks.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# A name in a message: quoted, or without spaces.
_NAME = re.compile(r"""(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)"(?:[^"\\]|\\.)*"(?!\w)|\S+""")


def printable(text: str) -> str:
    r"""Escape every character that is no visible one or a space, such as `\x9b` or `\u202e`.

    These are control characters, marks of direction, separators of lines, invisible characters, halves of surrogates,
    and code points without a character. Text that is escaped already stays as it is.

    >>> print(printable("a\x1b[2J\u202eb\n"))
    a\x1b[2J\u202eb\n
    """
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(c if c.isprintable() and not _INVISIBLE.match(c) else _escape(c) for c in text)


def shorten(text: str, limit: int = LONGEST_NAME) -> str:
    """Leave out the middle of a text that has more characters than the limit, and put a digest of the whole there.

    The digest tells texts apart that differ in their middles; below a limit of 60 there is no room for it.

    >>> shorten("a" * 1000 + "b", 60)
    'aaaaaaaaaaaaaaaaaaaaaaaaa…#4ac8a348…aaaaaaaaaaaaaaaaaaaaaaab'
    """
    if len(text) <= limit:
        return text
    mark = f"…#{_digest(text)}…" if limit >= _TELLS_APART else "…"
    room = limit - len(mark)
    return f"{text[: room - room // 2]}{mark}{text[len(text) - room // 2 :]}"


def display(name: str, limit: int = LONGEST_NAME) -> str:
    """Escape a name and cut it to the limit."""
    # The cut before bounds the work, the cut behind the length: an escape has up to ten characters.
    return shorten(printable(shorten(name, max(limit, LONGEST_NAME))), limit)


def fit_message(*parts: str, limit: int) -> tuple[str, ...]:
    """Escape the parts of a message, and cut them so that they have at most so many characters together.

    Names are cut first, all to the same length. Only where that does not suffice, the longest parts lose their middles.
    """
    escaped = [printable(shorten(part, _LOOKED_AT)) for part in parts]
    for length in _LENGTHS:
        fitted = [_shorten_names(part, length) for part in escaped]
        if sum(map(len, fitted)) <= limit:
            return tuple(fitted)
    # The highest level to which all longer parts are cut.
    level = next(top for top in range(limit, -1, -1) if sum(min(len(part), top) for part in fitted) <= limit)
    return tuple(shorten(part, level) for part in fitted)


def has_long_names(*parts: str) -> bool:
    """Whether a name in the parts of a message is longer than names may be."""
    return any(_shorten_names(part, LONGEST_NAME) != part for part in (shorten(part, _LOOKED_AT) for part in parts))


def bound_names(value: Any) -> Any:
    """Cut every text in a value to the length of a name: texts, sequences and mappings of them, other values as is.

    The reasons in it are sentences, which may be longer. Nothing else is escaped: a document keeps the names that other
    programs look for.
    """
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, Mapping):
        return {
            bound_names(key): fit_message(entry, limit=LONGEST_NOTICE)[0]
            if key in _SENTENCES and isinstance(entry, str)
            else bound_names(entry)
            for key, entry in value.items()
        }
    if isinstance(value, tuple | list):
        return type(value)(map(bound_names, value))
    return value


class BoundedNames:
    """A frozen dataclass whose texts have at most the length of a name, whoever makes it: a run, or a saved record."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, bound_names(getattr(self, field.name)))


def _shorten_names(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return _NAME.sub(lambda match: shorten(match[0], length), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
