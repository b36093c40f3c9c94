"""The numbers of a hidden layer: what `metrics` and `uncertainty` say of its features and the head's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.metrics.base import Sample
from onnxrich.metrics.jackknife import Interval, estimate_intervals
from onnxrich.metrics.linalg import centered_spectrum
from onnxrich.metrics.registry import Metrics, evaluate
from onnxrich.metrics.row_order import row_order_ratio
from onnxrich.moments.matrix import Moments

# What is computed for each layer.
METRICS = (
    "d_lr", "d_lr_debiased", "d_lr_centered", "utilized_variance", "effective_rank", "participation_ratio",
    "stable_rank", "nc1", "kernel_target_alignment", "cka_outputs", "probe_r2",
)  # fmt: skip
# So many of the largest directions are told.
DIRECTIONS = 64


@dataclass(frozen=True)
class Layer:
    """A layer: its features, measured against the outputs of the network's head.

    Attributes:
        name: the tensor that it gives.
        scope: the module of the exporting framework that it comes from; empty where the file doesn't say.
        operator: what makes it.
        rows: how rows are made of the tensor: "mean over positions", "mean over tokens", "token 0", …
        p: number of features.
        metrics: by name, None where undefined.
        intervals: 95 % intervals by name; none without blocks of rows.
        spectrum: shares of the features' variance that lie along their largest directions, at most 64.
    """

    name: str
    scope: str
    operator: str
    rows: str
    p: int
    metrics: Metrics
    intervals: Mapping[str, Interval]
    spectrum: tuple[float, ...]

    @classmethod
    def from_moments(
        cls, about: Mapping[str, str], moments: Moments, blocks: Sequence[Moments], *, samples: bool
    ) -> Self:
        """The layer of some moments.

        Args:
            about: its name, scope, operator and rows.
            moments: of all rows: the layer's features, the head's outputs, the targets.
            blocks: that they are the sum of.
            samples: whether rows are samples, whose order can be told.
        """
        sample = Sample.from_moments(moments, blocks)
        if samples and row_order_ratio(sample) is not None:
            sample = replace(sample, is_ordered=True)
        with single_threaded_blas(len(moments.matrix) ** 3):
            metrics, _ = evaluate(sample, METRICS)
            values = np.clip(sample.cached(centered_spectrum).values, 0, None)
            ends = estimate_intervals(sample, METRICS)
        shares = values[:DIRECTIONS] / values.sum() if metrics["participation_ratio"] is not None else values[:0]
        return cls(**about, p=moments.p, metrics=metrics, intervals=ends, spectrum=tuple(shares.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """The layer as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The layer from what `to_dict` gave; metrics that there are no more are left out.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: when it is of another form.
        """
        numbers = {name: value for name, value in values["metrics"].items() if name in METRICS}
        ends = {name: each for name, each in values["intervals"].items() if name in METRICS}
        return cls(
            str(values["name"]), str(values["scope"]), str(values["operator"]), str(values["rows"]), int(values["p"]),
            metrics={name: None if value is None else float(value) for name, value in numbers.items()},
            intervals={
                name: Interval.from_dict(each) for name, each in ends.items()
            },
            spectrum=tuple(map(float, values["spectrum"])),
        )  # fmt: skip
