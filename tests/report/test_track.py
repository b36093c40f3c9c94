"""A training as text, as a page and as a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from onnxrich.report import _steps, track
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Estimate
from onnxrich.results.track import Track

STEPS = (0, 10, 100, 1000)


@pytest.fixture(scope="module")
def tracked(maker: Callable[..., Analysis]) -> Track:
    """Four checkpoints that become rich at the end, with an accuracy that they note."""
    results = []
    for step in STEPS:
        made = maker(f"m-{step}.onnx", rich=step > 100, blocks=8)
        noted = replace(made.record.model, noted={"train_accuracy": 0.5 + step / 4000})
        results.append(replace(made, record=replace(made.record, model=noted)))
    return Track.of(STEPS, results, s_init=[Estimate(1.0), Estimate(0.9), None, Estimate(0.1)])


def test_text_has_a_line_a_checkpoint(tracked: Track) -> None:
    """With its metrics, what it notes, the change and its error; the transition stands above."""
    text = track.render(tracked, width=120)
    assert text.startswith("From lazy to rich: D_LR falls from step 100 to step 1,000")
    for number, step in enumerate(STEPS):
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{step:,} "))
        assert f"{tracked.results[number].metrics['d_lr']:.4f}" in line
        assert f"{0.5 + step / 4000:.4g}" in line
    for width in (60, 80, 100):
        narrow = track.render(tracked, width=width).splitlines()
        assert max(map(len, narrow)) <= width
        assert any({"step", "d_lr", "change"} <= set(line.split()) for line in narrow), "no heading is broken"
    assert all(ord(letter) < 128 for letter in track.render(tracked, width=80, ascii_only=True))


def test_files_stand_for_unknown_steps(tracked: Track) -> None:
    """In the table, the sentence, the page and the figure; long names are shortened, and the rest keeps its place."""
    named = [
        replace(result.record.model, path=f"run/{'long-' * 9}{n}.onnx") for n, result in enumerate(tracked.results)
    ]
    results = [
        replace(result, record=replace(result.record, model=model))
        for result, model in zip(tracked.results, named, strict=True)
    ]
    unknown = Track.of(range(4), results, origin="position")
    files = [f"{n} (long-long-lo…long-{n}.onnx)" for n in range(4)]
    assert track.called(unknown) == [f"checkpoint {file}" for file in files]
    text, page = track.render(unknown, width=80), track.html(unknown)
    lines = text.splitlines()
    assert "from checkpoint" in lines[0] and max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["checkpoint", "d_lr"] for line in lines)
    for file in files:
        assert any(line.startswith(file) for line in lines) and f"checkpoint {file}" in page
    assert f"4 checkpoints, checkpoint {files[0]} to {files[3]}" in page
    legend = [line.get_label() for line in track.figure(unknown).axes[4].lines]
    assert legend == [f"checkpoint {file}" for file in files]


def test_text_without_transitions(tracked: Track) -> None:
    """It says that there is none, and of one checkpoint that there is no course."""
    still = Track.of(STEPS[:2], tracked.results[:2])
    assert "no transition" in track.summary(still)
    assert "single checkpoint" in track.summary(Track.of([3], tracked.results[:1]))
    assert "single checkpoint" in track.html(Track.of([3], tracked.results[:1]))


def test_page_shows_the_course(tracked: Track) -> None:
    """Panels against the step, the transition shaded, curves called by their steps, all values in a table."""
    page = track.html(tracked)
    for words in ("4 checkpoints, step 0 to 1,000", "Richness", "train accuracy (noted)", "step 100", "S_init"):
        assert words in page
    assert page.count('class="transition"') == 5
    for result in tracked.results:
        assert f"{result.metrics['d_lr']:.4f}" in page
    assert page == track.html(tracked)


def test_long_trainings_have_a_logarithmic_axis() -> None:
    """Steps over more than a decade and a half do, with 0 at half the smallest; short ones don't."""
    at, logarithmic = _steps.positions([0, 10, 100, 1000])
    assert logarithmic and at.tolist() == [5, 10, 100, 1000]
    assert _steps.positions([0, 10, 20])[1] is False
    assert _steps.positions([7])[1] is False


def test_curves_of_chosen_steps(maker: Callable[..., Analysis]) -> None:
    """First, last and the ends of a transition are among the six that are drawn."""
    results = [maker(f"m-{step}.onnx", rich=step > 4, blocks=8, n=120) for step in range(20)]
    chosen = track.shown(Track.of(range(20), results))
    assert len(chosen) == 6 and {0, 4, 5, 19} <= set(chosen)


def test_figure_has_six_panels_and_the_values(tracked: Track) -> None:
    """Above the metrics against the step, below the curves of single features, a line a checkpoint."""
    axes = track.figure(tracked).axes
    assert [each.get_title(loc="left") for each in axes[:2]] == ["Richness", "Performance"]
    drawn = np.asarray(axes[0].lines[0].get_ydata())
    np.testing.assert_array_equal(drawn, [result.metrics["d_lr"] for result in tracked.results])
    utilization = axes[4]
    assert utilization.get_title(loc="left") == "Utilization of each feature" and len(utilization.lines) == 4
    individual = tracked.results[3].curves.individual("utilization")
    np.testing.assert_array_equal(np.asarray(utilization.lines[3].get_ydata()), individual)
