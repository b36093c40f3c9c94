"""What a metric is: a name, a meaning, and how it is computed from a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onnxrich.metrics.sample import Sample

Value = float | int | None

# How far a metric can go, which decides on what scale its interval is computed: shares lie in 0 … 1, positive numbers
# above 0, real ones anywhere; a fact is known without error.
Scale = Literal["share", "positive", "real", "fact"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: its key.
        family: what it is listed under.
        meaning: one line for tables.
        compute: its value for a sample; None where it is undefined.
        scale: where it can lie.
        default: whether it is computed when no metrics are named.
        first_order: for metrics that cost too much to compute for each block left out. Given the whole sample it gives
            a function of nearly the same samples that agrees with the metric to first order in their difference.
        beyond: whether it needs more than the moments of all rows: their blocks, or the model's weights.
        by_number: whether it compares each class with the output of its number; all others are the same however classes
            are numbered.
    """

    name: str
    family: str
    meaning: str
    compute: Callable[[Sample], Value]
    scale: Scale = "real"
    default: bool = True
    first_order: Callable[[Sample], Callable[[Sample], float]] | None = None
    beyond: bool = False
    by_number: bool = False
