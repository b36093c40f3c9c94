"""The steps of a training: names, the choice of curves, and positions on the axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from report.conftest import STEPS

from onnxrich.report import steps, terminal
from onnxrich.results.analysis import Analysis
from onnxrich.results.track import Track


def test_files_stand_for_unknown_steps(nameless_track: Track) -> None:
    """A checkpoint without a step is named by its number and its file, whose name is shortened."""
    files = [f"{number} (long-long-lo…long-{number}.onnx)" for number in range(4)]
    assert steps.checkpoint_names(nameless_track) == [f"checkpoint {file}" for file in files]


def test_summary_without_transitions(track: Track) -> None:
    """It says that there is none, and of one checkpoint that there is no course."""
    assert "no transition" in steps.summary(Track.of(STEPS[:2], track.results[:2]))
    assert "single checkpoint" in steps.summary(Track.of([3], track.results[:1]))


def test_made_up_inputs_tell_nothing_of_a_training(track: Track) -> None:
    """Where the inputs are random numbers, no fall of D_LR is called a transition in words."""
    records = [replace(result.record, data=replace(result.record.data, synthetic=True)) for result in track.results]
    results = [replace(result, record=record) for result, record in zip(track.results, records, strict=True)]
    assert "smoke test" in steps.summary(Track.of(STEPS, results))
    assert "From lazy to rich" not in terminal.render(Track.of(STEPS, results), width=100)


def test_long_trainings_have_a_logarithmic_axis() -> None:
    """Steps over more than a decade and a half do, with 0 at half the smallest; short ones don't."""
    places, is_logarithmic = steps.positions([0, 10, 100, 1000])
    assert is_logarithmic and places.tolist() == [5, 10, 100, 1000]
    assert steps.positions([0, 10, 20])[1] is False
    assert steps.positions([7])[1] is False


def test_curves_of_chosen_steps(maker: Callable[..., Analysis]) -> None:
    """First, last and the ends of a transition are among the six that are drawn."""
    results = [maker(f"m-{step}.onnx", rich=step > 4, blocks=8, n=120) for step in range(20)]
    chosen = steps.drawn_checkpoints(Track.of(range(20), results))
    assert len(chosen) == 6 and {0, 4, 5, 19} <= set(chosen)
