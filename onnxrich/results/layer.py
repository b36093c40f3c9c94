"""Numbers of a hidden layer: metrics, intervals and the spectrum of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from onnxrich._utils.text import BoundedNames
from onnxrich.metrics.jackknife import Interval
from onnxrich.metrics.registry import Metrics
from onnxrich.results.serialize import from_values, to_values

# Metrics of a layer.
METRICS = (
    "d_lr", "d_lr_debiased", "d_lr_centered", "utilized_variance", "effective_rank", "participation_ratio",
    "stable_rank", "nc1", "kernel_target_alignment", "cka_outputs", "probe_r2",
)  # fmt: skip


@dataclass(frozen=True)
class Layer(BoundedNames):
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

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as JSON values."""
        return to_values(self)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the layer that `to_dict` gave; metrics that a layer doesn't have any more are left out.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: when the values have another form.
        """
        return from_values(cls, known_metrics(values))


def known_metrics(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out metrics that this version doesn't know from the values of a layer."""
    parts = ("metrics", "intervals")
    return {**layer, **{part: {name: layer[part][name] for name in layer[part] if name in METRICS} for part in parts}}
