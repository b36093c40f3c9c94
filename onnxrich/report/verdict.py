"""What D_LR of a model means, in words: the one verdict that all reports print.

Source: 1 − D_LR = u·√(PR/r), exact for `d_lr_centered` (docs/METRICS.md). u is the share of the features' variance that
the outputs use, PR the effective number of directions of the features, r the number of directions of the outputs. So
D_LR is above 0 for two reasons, and only the first is about features that lie unused. D_LR alone tells neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxrich.metrics.jackknife import Interval
from onnxrich.metrics.richness import Richness
from onnxrich.report import wording
from onnxrich.results.analysis import Analysis
from onnxrich.results.anchors import Anchors

# Least share of the features' variance that the outputs use, how much that is, and what it makes of the features.
_USES = (
    (0.995, "all", "used as a whole"),
    (0.9, "nearly all", "used nearly as a whole"),
    (0.6, "most", "used for the most part"),
    (0.4, "about half", "used by half"),
    (0.1, "a part", "used in part"),
    (-1.0, "little", "hardly used"),
)
# Of features that are used as a whole, and evenly, the outputs use so much, and √(PR/r) is at least that.
_WHOLE, _EVEN = 0.9, 0.9
# From this √(PR/r) on the features spread over more directions than the outputs.
_SPREAD = 1.1
# The value of unshaped features is a limit of many rows and uncorrelated features: nearer than that is the same.
_ABOUT = 0.05
# From this difference on, 1 − u·√(PR/r), which is d_lr_centered, says too little of d_lr.
_FAR = 0.1


@dataclass(frozen=True)
class Verdict:
    """Words about a model.

    Attributes:
        place: a few words, for a headline.
        meaning: sentences that say why.
    """

    place: str
    meaning: str


@dataclass(frozen=True)
class Tick:
    """A place on the scale that a model is read against.

    Attributes:
        kind: which of the anchors.
        value: its D_LR.
        label: what it is, with its number.
    """

    kind: Literal["unshaped", "initial"]
    value: float
    label: str


def verdict(analysis: Analysis) -> Verdict:
    """Say what D_LR means, from use, evenness, anchors and intervals. Made-up inputs are not judged."""
    d_lr, parts = analysis.metrics["d_lr"], analysis.components
    if d_lr is None:
        return Verdict("undefined", wording.undefined_reason(analysis, "d_lr"))
    if analysis.anchors is None:
        return Verdict(
            "smoke test", "The inputs are random numbers, so this says nothing about how the model was trained."
        )
    if parts.utilized_variance is None or parts.participation_ratio is None:
        return Verdict("undefined", wording.undefined_reason(analysis, "utilized_variance"))
    use, evenness = parts.utilized_variance, _evenness(parts)
    # Where nothing lies unused, D_LR is of the sizes alone, which the anchor takes to be even.
    is_unshaped = _reaches_unshaped(analysis, d_lr, analysis.anchors.unshaped) and not _is_uneven_whole(use, evenness)
    sentences = [
        _use_and_evenness(parts, use, parts.participation_ratio),
        _product(parts, d_lr),
        _against_unshaped(analysis.anchors, is_like=is_unshaped),
        _against_initial(analysis.anchors),
        _few_rows_caveat(analysis),
    ]
    return Verdict(_place(use, evenness, is_unshaped=is_unshaped), " ".join(filter(None, sentences)))


def ticks(analysis: Analysis) -> list[Tick]:
    """List the places on the scale that a model is read against; none for made-up inputs."""
    anchors = analysis.anchors
    if anchors is None:
        return []
    found = [Tick("unshaped", anchors.unshaped, f"unshaped features of this width: about {anchors.unshaped:.2f}")]
    if anchors.initial is not None and anchors.initial.d_lr is not None:
        number = f"{wording.richness(anchors.initial.d_lr)}{_half_width(anchors.initial.interval)}"
        found.append(Tick("initial", anchors.initial.d_lr, f"its untrained network: {number}"))
    return found


def scale_note(analyses: Sequence[Analysis]) -> str:
    """Say that the scale is not the same for several models, where it is not; empty where it is."""
    shapes = [(analysis.moments.p, analysis.components.rank) for analysis in analyses if analysis.anchors is not None]
    anchors = {f"{analysis.anchors.unshaped:.2f}" for analysis in analyses if analysis.anchors is not None}
    if len(anchors) < 2:
        return ""
    widths = ", ".join(dict.fromkeys(f"{p:,} features and {rank:,} outputs" for p, rank in shapes))
    return (
        f"The scale is not the same for these models ({widths}): unshaped features have "
        f"{' and '.join(sorted(anchors))}. Read each model against its own mark."
    )


def _is_uneven_whole(use: float, evenness: float) -> bool:
    return use >= _WHOLE and evenness < _EVEN


def _evenness(parts: Richness) -> float:
    """√(PR/r)."""
    return math.sqrt((parts.participation_ratio or 0.0) / max(1, parts.rank_centered))


def _place(use: float, evenness: float, *, is_unshaped: bool) -> str:
    if is_unshaped:
        return "no richer than unshaped features"
    if use >= _WHOLE and evenness >= _EVEN:
        return "near the rich end"
    _, _, used = _use(use)
    return f"features {used}" if evenness >= _EVEN else f"features {used}, but unevenly"


def _use(share: float) -> tuple[float, str, str]:
    """Find the entry of `_USES` for a share."""
    return next(entry for entry in _USES if share >= entry[0])


def _use_and_evenness(parts: Richness, use: float, directions: float) -> str:
    _, word, _ = _use(use)
    share = f"The outputs use {word} of the features' variance ({_percent(use)})"
    counts = f"effectively {directions:.3g} directions, where the outputs have {parts.rank_centered:,}"
    evenness = _evenness(parts)
    if evenness >= _SPREAD:
        return f"{share}, which spreads over more directions than they need: {counts}."
    if evenness >= _EVEN:
        return f"{share}, which is spread evenly: {counts}."
    if _is_uneven_whole(use, evenness):
        return f"{share}; D_LR is above 0 because their directions differ in size: {counts}."
    return f"{share}, which is spread unevenly: {counts}."


def _product(parts: Richness, d_lr: float) -> str:
    """Say that raw outputs make D_LR another number than its two parts, where they do."""
    if parts.d_lr_centered is None or abs(parts.d_lr_centered - d_lr) <= _FAR:
        return ""
    centered = wording.richness(parts.d_lr_centered)
    return f"That makes d_lr_centered {centered}; the outputs' means make d_lr another."


def _reaches_unshaped(analysis: Analysis, d_lr: float, unshaped: float) -> bool:
    """Whether D_LR is not clearly below that of features that nothing shaped: without the bias of few rows if known."""
    debiased = analysis.metrics.get("d_lr_debiased")
    name, value = ("d_lr", d_lr) if debiased is None else ("d_lr_debiased", debiased)
    interval = None if analysis.uncertainty is None else analysis.uncertainty.intervals.get(name)
    return max(value, value if interval is None else interval.high) > unshaped - _ABOUT


def _against_unshaped(anchors: Anchors, *, is_like: bool) -> str:
    if anchors.unshaped < 2 * _ABOUT:
        return (
            f"With so few features for the outputs, features that nothing shaped have about {anchors.unshaped:.2f}: "
            "D_LR can't tell rich training from lazy."
        )
    if not is_like:
        return f"Features of this width that nothing shaped have about {anchors.unshaped:.2f}."
    return f"That is not clearly richer than features of this width that nothing shaped: about {anchors.unshaped:.2f}."


def _against_initial(anchors: Anchors) -> str:
    initial = anchors.initial
    if initial is None or initial.d_lr is None or initial.change is None:
        return ""
    before = f"Its untrained network has {wording.richness(initial.d_lr)}"
    change, interval = initial.change, initial.change_interval
    if interval is not None and interval.low <= 0 <= interval.high:
        return f"{before}, from which it can't be told apart ({change:+.2g}{_half_width(interval)})."
    way = "richer" if change < 0 else "lazier"
    return f"{before}: training made it {way}, by {abs(change):.2g}{_half_width(interval)}."


def _few_rows_caveat(analysis: Analysis) -> str:
    """Say that few rows make the verdict doubtful, and what D_LR is without their bias."""
    if not any(notice.code == "few_rows" for notice in analysis.notices):
        return ""
    debiased = analysis.metrics.get("d_lr_debiased")
    if debiased is None:
        return "But there are too few rows to say so: D_LR of few rows is biased."
    return f"But there are few rows; without their bias D_LR is {wording.richness(debiased)}."


def _half_width(interval: Interval | None) -> str:
    return "" if interval is None or not interval.half_width else f" ± {interval.half_width:.2g}"


def _percent(share: float) -> str:
    """Format a share in three digits, never as 100 % where it is less."""
    text = f"{100 * share:.3g}"
    return f"{text} %" if text != "100" or share == 1 else "> 99.9 %"
