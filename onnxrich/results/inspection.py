"""The result of looking at a model, and the JSON document of schema `onnxrich.inspection/1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from onnxrich._utils.text import bound_names
from onnxrich.results.serialize import from_values, to_values

SCHEMA = "onnxrich.inspection/1"

# Entries of each list in a document.
MOST_ENTRIES = 5000


@dataclass(frozen=True)
class Candidate:
    """A possible head.

    Attributes:
        number: what to pass as `head`.
        kind: operators that make the outputs from the features.
        features: tensor of the penultimate layer.
        outputs: tensor of the outputs.
        p: number of features.
        C: number of outputs.
        rows: "sample", "token" or "position"; None where the model could not be run.
        residual: relative distance of the outputs from Wφ + b on made-up inputs; None where it could not be run.
        verified: whether the residual is what rounding explains.
        chosen: whether `onnxrich run` takes it without being told.
        reason: why it was chosen or not, or why it could not be verified.
    """

    number: int
    kind: str
    features: str
    outputs: str
    p: int
    C: int
    rows: str | None
    residual: float | None
    verified: bool
    chosen: bool
    reason: str


@dataclass(frozen=True)
class Inspection:
    """Signature, possible heads and layers of a model.

    Attributes:
        model: path, sha256, weights_sha256, producer, opset, IR version and number of parameters.
        inputs: name, type and shape of each input.
        outputs: names of the outputs.
        candidates: possible heads.
        rejected: tensors at which the search ended without one, each with the reason.
        tail: operators from the penultimate layer to an output, each as (operator, tensor that it makes).
        layers: tensor, scope and operator of each layer before the first head, as `onnxrich.run` takes them.
    """

    model: dict[str, Any]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    rejected: tuple[dict[str, str], ...]
    tail: tuple[tuple[str, str], ...]
    layers: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the document of schema `onnxrich.inspection/1`: JSON values.

        Names have at most 200 characters there, and each list `MOST_ENTRIES` entries; `left_out` counts the others by
        the name of the list. The attributes hold all of them whole.
        """
        values = bound_names(to_values(self))
        lists = {name: entries for name, entries in values.items() if isinstance(entries, list)}
        left_out = {name: len(entries) - MOST_ENTRIES for name, entries in lists.items() if len(entries) > MOST_ENTRIES}
        short = {name: entries[:MOST_ENTRIES] for name, entries in lists.items()}
        return {"schema": SCHEMA, **values, **short, "left_out": left_out}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Return the inspection that `to_dict` gave."""
        return from_values(cls, document)
