"""Comparisons as text: the numbers stand there, and no name steers the terminal."""

from __future__ import annotations

from collections.abc import Callable

from onnxrich.report import terminal, wording
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison


def test_text_holds_values_differences_and_cka(comparison: Comparison) -> None:
    """Every model's metric, the difference to the first with its interval, CKA of each pair, S_init, warnings."""
    text = terminal.render(comparison, width=150)
    line = next(line for line in text.splitlines() if line.startswith("d_lr "))
    for result in comparison.results:
        assert f"{result.metrics['d_lr']:.4f}" in line
    change = comparison.differences[1]["d_lr"]
    assert change.interval is not None
    assert f"{change.value:+.3g} ± {change.interval.half_width:.2g} *".replace("-", "−", 1) in line
    matrix = text[text.index("CKA of features") :]
    assert "0.7100 ± 0.02 (0.7500)" in matrix and "0.2500" in matrix
    start = next(line for line in text.splitlines() if line.startswith("s_init"))
    assert start.split()[1:] == ["1", "0.7100", "±", "0.02", "(0.7500)", "-"]
    assert "Rows <differ>." in text and "\x1b" not in text
    assert all(ord(letter) < 128 for letter in terminal.render(comparison, width=80, ascii_only=True))


def test_many_models_stand_below_their_values(maker: Callable[..., Analysis]) -> None:
    """With more than three models the difference stands under each value."""
    many = Comparison.of([maker(f"m{i}.onnx", rich=i > 2, blocks=8) for i in range(5)])
    lines = terminal.render(many, width=120).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("d_lr "))
    assert wording.difference(many.differences[4]["d_lr"]) in lines[at + 1]
