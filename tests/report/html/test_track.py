"""The page of a training."""

from __future__ import annotations

from onnxrich.report import html
from onnxrich.results.track import Track


def test_page_shows_the_course(track: Track) -> None:
    """Panels against the step, the transition shaded, curves called by their steps, all values in a table."""
    page = html.render(track)
    for words in ("4 checkpoints, step 0 to 1,000", "Richness", "train accuracy (noted)", "step 100", "S_init"):
        assert words in page
    assert page.count('class="transition"') == 5
    for result in track.results:
        assert f"{result.metrics['d_lr']:.4f}" in page
    assert page == html.render(track)


def test_files_stand_for_unknown_steps(nameless_track: Track) -> None:
    """They stand in the title and in the names of the curves; long names are shortened."""
    page = html.render(nameless_track)
    names = [f"checkpoint {number} (long-long-lo…long-{number}.onnx)" for number in range(4)]
    for name in names:
        assert name in page
    assert f"4 checkpoints, {names[0]} to {names[3].removeprefix('checkpoint ')}" in page


def test_single_checkpoint_has_no_course(track: Track) -> None:
    """The page says so, and draws its numbers in the middle."""
    assert "single checkpoint" in html.render(Track.of([3], track.results[:1]))
