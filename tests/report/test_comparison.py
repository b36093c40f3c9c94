"""Comparisons as text and as a page: the numbers stand in both, and no name steers either."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onnxrich.errors import Notice
from onnxrich.metrics.jackknife import Interval
from onnxrich.report import comparison
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Estimate


@pytest.fixture(scope="module")
def compared(maker: Callable[..., Analysis], hostile: Analysis) -> Comparison:
    """Three models, one with a hostile name, and all that a comparison can say."""
    cka = {(0, 1): Estimate(0.75, Interval(0.01, 0.73, 0.77), paired=True), (1, 2): Estimate(0.25)}
    results = [maker("first.onnx", blocks=8), maker("second.onnx", rich=True, blocks=8), hostile]
    return Comparison.of(results, initial=0, cka=cka, notices=[Notice("rows_differ", "Rows <differ>.")])


def test_text_holds_values_differences_and_cka(compared: Comparison) -> None:
    """Every model's metric, the difference to the first with its interval, CKA of each pair, S_init, warnings."""
    text = comparison.render(compared, width=150)
    line = next(line for line in text.splitlines() if line.startswith("d_lr "))
    for result in compared.results:
        assert f"{result.metrics['d_lr']:.4f}" in line
    change = compared.differences[1]["d_lr"]
    assert change.interval is not None
    assert f"{change.value:+.3g} ± {change.interval.half:.2g} *".replace("-", "−", 1) in line
    matrix = text[text.index("CKA of features") :]
    assert "0.7500 ± 0.02" in matrix and "0.2500" in matrix
    start = next(line for line in text.splitlines() if line.startswith("s_init"))
    assert start.split()[1:] == ["1", "0.7500", "±", "0.02", "-"]
    assert "Rows <differ>." in text and "\x1b" not in text
    assert all(ord(letter) < 128 for letter in comparison.render(compared, width=80, ascii_only=True))


def test_many_models_stand_below_their_values(maker: Callable[..., Analysis]) -> None:
    """With more than three models the difference stands under each value."""
    found = Comparison.of([maker(f"m{i}.onnx", rich=i > 2, blocks=8) for i in range(5)])
    lines = comparison.render(found, width=120).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("d_lr "))
    assert comparison.signed(found.differences[4]["d_lr"]) in lines[at + 1]


def test_page_holds_the_same(compared: Comparison) -> None:
    """Differences and CKA are in the page, escaped, and its document is the comparison without the analyses."""
    page = comparison.html(compared)
    assert comparison.signed(compared.differences[1]["d_lr"]) in page
    assert "0.7500 ± 0.02" in page and "S<sub>init</sub>" in page and comparison.CLEAR in page
    assert "Rows &lt;differ&gt;." in page and "<img src=x" not in page
    assert page == comparison.html(compared)
    assert "built-in method" not in page


def test_signs() -> None:
    """A difference always has a sign, an interval where it is known, a star where that leaves out 0."""
    assert comparison.signed(None) == ""
    assert comparison.signed(Estimate(-0.5)) == "−0.5"
    assert comparison.signed(Estimate(0.5, Interval(0.1, -0.1, 1.1))) == "+0.5 ± 0.6"
    assert comparison.signed(Estimate(-0.5, Interval(0.1, -0.7, -0.3))) == "−0.5 ± 0.2 *"
