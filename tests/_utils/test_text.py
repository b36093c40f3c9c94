"""Text for people: nothing in it misleads, and nothing is longer than its limit, whatever the names are."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from onnxrich._utils.text import LONGEST_NAME, LONGEST_NOTICE, display, fit_message, printable, shorten
from onnxrich.errors import HeadError, Notice

# Text of all categories, surrogates among them, and long runs of one character.
TEXT = st.text(st.characters(codec=None), max_size=400)
NAMES = TEXT | st.builds(str.__mul__, st.text(st.characters(codec=None), min_size=1, max_size=3), st.just(5000))
# Control characters, marks of format and direction, surrogates, code points without character, separators.
MISLEADING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def assert_harmless(text: str) -> None:
    assert not [c for c in text if unicodedata.category(c) in MISLEADING], ascii(text)
    assert not set("\u115f\u1160\u3164\uffa0\u034f\ufe0f\u2800") & set(text)


@given(NAMES)
def test_names_for_people(name: str) -> None:
    """A name is escaped, has at most 200 characters, and is not changed again."""
    shown = display(name)
    assert_harmless(shown)
    assert len(shown) <= LONGEST_NAME
    assert display(shown) == shown


@given(NAMES, st.sampled_from([24, 60, 200]))
def test_short_names_stay(name: str, limit: int) -> None:
    """A visible name within the limit is shown as it is; a longer one keeps its beginning and its end."""
    short = shorten(name, limit)
    assert len(short) <= limit
    if len(name) <= limit:
        assert short == name
    else:
        assert short[:5] == name[:5] and short[-5:] == name[-5:]


def test_long_names_stay_apart() -> None:
    """Names that differ in the middle alone differ when they are cut."""
    names = {"a" * 5000 + middle + "b" * 5000 for middle in "xyz"}
    assert len(set(map(shorten, names))) == len(set(map(display, names))) == 3


@given(NAMES, NAMES, NAMES)
def test_errors_and_notices(a: str, b: str, c: str) -> None:
    """Messages are escaped and bounded, and the same when they are built again from their parts."""
    error = HeadError(f"no tensor {a!r}", f"one of {b}", f"Pass {c!r}.")
    assert_harmless(str(error))
    assert len(str(error)) <= LONGEST_NOTICE
    assert str(HeadError(error.found, error.needed, error.remedy)) == str(error)
    notice = Notice(a, f"{b} and {c!r}")
    assert_harmless(notice.code + notice.message)
    assert len(notice.message) <= LONGEST_NOTICE
    assert Notice(notice.code, notice.message) == notice


def test_names_are_cut_before_sentences() -> None:
    """Of a message with a long name the words stay."""
    found, needed, remedy = fit_message(
        f"no tensor {'x y ' * 9999!r} is there", "one of them", "Pass --head 1.", limit=200
    )
    assert found.startswith("no tensor 'x y x") and found.endswith("x y ' is there")
    assert (needed, remedy) == ("one of them", "Pass --head 1.")


def test_visible_text_stays() -> None:
    """Letters of all scripts, emoji and blanks need no escape."""
    for text in ("模型 модель é 😀", "a 'b' \\n $x_1$"):
        assert printable(text) == text
    assert printable("\x9b\u202e\x00\u2028\ud800\ufdd0\u3164") == "\\x9b\\u202e\\x00\\u2028\\ud800\\ufdd0\\u3164"
