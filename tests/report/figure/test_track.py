"""The figure of a training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxrich.report import figure, steps
from onnxrich.results.track import Track


def test_figure_has_six_panels_and_the_values(track: Track) -> None:
    """Above the metrics against the step, below the curves of single features, a line a checkpoint."""
    panels = figure.draw(track).axes
    assert [axes.get_title(loc="left") for axes in panels[:2]] == ["Richness", "Performance"]
    drawn = np.asarray(panels[0].lines[0].get_ydata())
    np.testing.assert_array_equal(drawn, [result.metrics["d_lr"] for result in track.results])
    utilization = panels[4]
    assert utilization.get_title(loc="left") == "Utilization of each feature" and len(utilization.lines) == 4
    individual = track.results[3].curves.individual("utilization")
    np.testing.assert_array_equal(np.asarray(utilization.lines[3].get_ydata()), individual)


def test_files_stand_for_unknown_steps(nameless_track: Track) -> None:
    """The curves are called by their checkpoints and files."""
    labels = [line.get_label() for line in figure.draw(nameless_track).axes[4].lines]
    assert labels == steps.checkpoint_names(nameless_track)


def test_names_are_no_formulas(track: Track) -> None:
    """`$` in the name of a file is drawn as it is, in the legend too."""
    first = track.results[0]
    model = replace(first.record.model, path="$x^$.onnx")
    named = replace(first, record=replace(first.record, model=model))
    drawn = Track.of([0, 1], [named, track.results[1]], origin="position")
    assert figure.render(drawn, "svg").startswith(b"<?xml")
