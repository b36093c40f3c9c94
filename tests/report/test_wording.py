"""Words and numbers that all formats share."""

from __future__ import annotations

from onnxrich.metrics.jackknife import Interval
from onnxrich.report import wording
from onnxrich.results.differences import Estimate


def test_signs() -> None:
    """A difference always has a sign, an interval where it is known, a star where that leaves out 0."""
    assert wording.difference(None) == ""
    assert wording.difference(Estimate(-0.5)) == "−0.5"
    assert wording.difference(Estimate(0.5, Interval(0.1, -0.1, 1.1))) == "+0.5 ± 0.6"
    assert wording.difference(Estimate(-0.5, Interval(0.1, -0.7, -0.3))) == "−0.5 ± 0.2 *"
