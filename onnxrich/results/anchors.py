"""What D_LR of a model is read against: features that nothing shaped, and the network before its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from onnxrich._utils.text import BoundedNames
from onnxrich.metrics.jackknife import Interval


@dataclass(frozen=True)
class Initial(BoundedNames):
    """The network that a training began from, on the same rows as the trained one.

    Attributes:
        model: its path.
        sha256: of its file.
        d_lr: its D_LR; None where it is undefined.
        interval: standard error and 95 % interval of that; None without blocks of rows.
        p: number of its features.
        rank: rank of its outputs.
        change: D_LR of the trained model minus this one; None where one of them is undefined.
        change_interval: standard error and 95 % interval of that, of a pair where both saw the same batches.
    """

    model: str
    sha256: str
    d_lr: float | None
    interval: Interval | None
    p: int
    rank: int
    change: float | None
    change_interval: Interval | None

    @property
    def unshaped(self) -> float:
        """D_LR of features of its width that nothing shaped."""
        return unshaped_d_lr(self.p, self.rank)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model": self.model,
            "sha256": self.sha256,
            "d_lr": _estimate(self.d_lr, self.interval),
            "change": _estimate(self.change, self.change_interval),
            "unshaped": self.unshaped,
        }


@dataclass(frozen=True)
class Anchors:
    """Places on the scale from rich to lazy that a model's D_LR is read against.

    Attributes:
        unshaped: about what D_LR is of features of this width that nothing shaped, from `unshaped_d_lr`.
        initial: the network before its training, where it is given.
    """

    unshaped: float
    initial: Initial | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"unshaped": self.unshaped, "initial": None if self.initial is None else self.initial.to_dict()}


def unshaped_d_lr(p: int, rank: int) -> float:
    """D_LR of p uncorrelated features of one variance, of which linear outputs of that rank are read.

    There tr(HKH·HPH) = r, ‖HKH‖ = √p and ‖HPH‖ = √r up to a common factor, so that D_LR = 1 − √(r/p).

    >>> [round(unshaped_d_lr(p, 10), 2) for p in (16, 64, 256, 1024)]
    [0.21, 0.6, 0.8, 0.9]
    """
    return 1 - math.sqrt(min(1.0, rank / p))


def _estimate(value: float | None, interval: Interval | None) -> dict[str, Any]:
    names = ("standard_error", "half_width", "low", "high")
    return {"value": value, **{name: None if interval is None else getattr(interval, name) for name in names}}
