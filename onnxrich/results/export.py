"""The result of exporting a framework's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from onnxrich.results.serialize import from_values, to_values


@dataclass(frozen=True)
class Export:
    """A model that was exported, and how far it is from the framework's own computation.

    Attributes:
        path: the ONNX file.
        inputs: names of its inputs.
        outputs: names of its outputs.
        framework: name and version of the framework.
        error: largest distance of an output from the framework's, relative to the largest value of that output.
        allowed: distance up to which that is rounding.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    framework: str
    error: float
    allowed: float

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return to_values(self)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Return the export that `to_dict` gave."""
        return from_values(cls, facts)
