"""Numbers of a hidden layer: metrics, intervals and the spectrum of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from onnxrich.metrics.jackknife import Interval
from onnxrich.metrics.registry import Metrics

# Metrics of a layer.
METRICS = (
    "d_lr", "d_lr_debiased", "d_lr_centered", "utilized_variance", "effective_rank", "participation_ratio",
    "stable_rank", "nc1", "kernel_target_alignment", "cka_outputs", "probe_r2",
)  # fmt: skip


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
                name: Interval(*(float(each[key]) for key in ("error", "low", "high"))) for name, each in ends.items()
            },
            spectrum=tuple(map(float, values["spectrum"])),
        )  # fmt: skip
