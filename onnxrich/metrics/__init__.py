"""Scalar metrics, each computed from the moment matrix alone. One file per family."""

from __future__ import annotations

from onnxrich.errors import Notice
from onnxrich.metrics import collapse, spectrum
from onnxrich.metrics import richness as _richness
from onnxrich.moments import Moments

Metrics = dict[str, float | int | None]

# One line a metric: what the report and the documentation say about it.
MEANINGS = {
    "d_lr": "dynamical richness: 0 = rich (features rebuilt for the task), 1 = lazy (kept as initialised)",
    "d_lr_centered": "the same on centred outputs, blind to output biases",
    "utilized_variance": "share of the features' variance that the outputs use",
    "participation_ratio": "effective number of feature directions, (Σλ)²/Σλ²",
    "effective_rank": "effective number of feature directions, exp of the singular values' entropy",
    "stable_rank": "feature variance in units of its largest direction, Σλ/λ₁",
    "rank_outputs": "number of independent output functions",
    "rank_outputs_centered": "number of independent centred output functions",
    "rank_gap_above": "smallest relative singular value of the outputs that was kept",
    "rank_gap_below": "largest one that was taken for rounding noise",
    "rank_tolerance": "relative singular value at which the cut was made",
    "rows_per_feature": "n/p; below about 10 D_LR is biased towards rich",
    "accuracy": "share of rows whose largest output is their class; performance, not richness",
    "nc1": "neural collapse: variation within classes over variation between them; 0 = collapsed",
}


def measure(moments: Moments) -> tuple[Metrics, list[Notice]]:
    """All metrics by name (keys as in `MEANINGS`), and what a reader should know about them."""
    result = _richness.from_moments(moments)
    eigenvalues = spectrum.eigenvalues(moments) if result.participation_ratio is not None else None
    above, below = result.gap
    metrics: Metrics = {
        "d_lr": result.d_lr,
        "d_lr_centered": result.d_lr_centered,
        "utilized_variance": result.utilized_variance,
        "participation_ratio": result.participation_ratio,
        "effective_rank": None if eigenvalues is None else spectrum.effective_rank(eigenvalues),
        "stable_rank": None if eigenvalues is None else spectrum.stable_rank(eigenvalues),
        "rank_outputs": result.rank,
        "rank_outputs_centered": result.rank_centered,
        "rank_gap_above": above,
        "rank_gap_below": below,
        "rank_tolerance": result.tolerance,
        "rows_per_feature": moments.n / moments.p,
        "accuracy": moments.tallies["correct"] / moments.n if moments.tallies and moments.n else None,
        "nc1": collapse.nc1(moments),
    }
    notices = list(result.notices)
    if moments.targets == "classes" and metrics["nc1"] is None:
        notices.append(Notice("nc1_undefined", "NC1 needs at least two classes whose mean features differ."))
    return metrics, notices
