"""A training as text."""

from __future__ import annotations

from report.conftest import STEPS

from onnxrich.report import terminal
from onnxrich.results.track import Track


def test_text_has_a_line_a_checkpoint(track: Track) -> None:
    """With its metrics, what it notes, the change and its error; the transition stands above."""
    text = terminal.render(track, width=120)
    assert text.startswith("From lazy to rich: D_LR falls from step 100 to step 1,000")
    for number, step in enumerate(STEPS):
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{step:,} "))
        assert f"{track.results[number].metrics['d_lr']:.4f}" in line
        assert f"{0.5 + step / 4000:.4g}" in line
    for width in (60, 80, 100):
        narrow = terminal.render(track, width=width).splitlines()
        assert max(map(len, narrow)) <= width
        assert any({"step", "d_lr", "change"} <= set(line.split()) for line in narrow), "no heading is broken"
    assert all(ord(letter) < 128 for letter in terminal.render(track, width=80, ascii_only=True))


def test_files_stand_for_unknown_steps(nameless_track: Track) -> None:
    """They stand in the sentence and in the table; long names are shortened, and the rest keeps its place."""
    lines = terminal.render(nameless_track, width=80).splitlines()
    assert "from checkpoint" in lines[0] and max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["checkpoint", "d_lr"] for line in lines)
    for number in range(4):
        assert any(line.startswith(f"{number} (long-long-lo…long-{number}.onnx)") for line in lines)
