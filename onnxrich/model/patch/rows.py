"""The tables of a patch: z = [1, φ, f, y] for the rows of a run, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxrich.model.head.head import Head
from onnxrich.model.patch.builder import Builder


@dataclass(frozen=True)
class Part:
    """Consecutive entries of z: a tensor of shape (rows, width), of float or double elements."""

    name: str
    width: int
    elements: int = TensorProto.DOUBLE

    @property
    def empty(self) -> NDArray[Any]:
        """The part for no rows."""
        return np.zeros((0, self.width), np.float64 if self.elements == TensorProto.DOUBLE else np.float32)


@dataclass(frozen=True)
class Tables:
    """z, and what else is known of the rows.

    Attributes:
        one: the weight of each row, or ones.
        features: φ.
        outputs: f.
        targets: y; None without labels.
        labels: y, of shape (rows, K).
        fed: inputs by what they are, "weights" and "targets", where there are such.
    """

    one: Part
    features: Part
    outputs: Part
    targets: Part | None
    labels: str
    fed: dict[str, str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of z, in order."""
        return (self.one, self.features, self.outputs, *([self.targets] if self.targets else []))


def lay_out(
    build: Builder,
    head: Head,
    *,
    K: int,
    masked: bool,
    mask: str | None,
    by_row: bool,
    fed: dict[str, str] | None = None,
    elements: int | None = None,
) -> Tables:
    """Adds the nodes that lay z out.

    Arguments are those of `rewrite.instrument`, inputs that are there already, and the type of the outputs' elements.
    """
    assert head.p is not None and head.C is not None  # noqa: S101 - the caller measured them
    # As wide as the head computes: float16 and bfloat16 are contained in float, and float moves half of double's bytes.
    exact = head.affine is None or head.affine.dtype == "float64"
    elements = elements or (TensorProto.DOUBLE if exact else TensorProto.FLOAT)
    pool = head.features.pool
    inner = elements if pool is None else TensorProto.DOUBLE if pool.double else TensorProto.FLOAT
    phi = build.cast(build.rows(head.features, head.p), inner, "features")
    f = build.cast(build.rows(head.outputs, head.C), elements, "outputs")
    given = "rows" if by_row else "samples"
    fed = dict(fed or {})
    if masked and "weights" not in fed:
        fed["weights"] = build.input("weights", [given, 1])
    if K and "targets" not in fed:
        fed["targets"] = build.input("targets", [given, K])
    y = build.per_row(fed["targets"], phi, K, by_row=by_row) if K else ""
    return Tables(
        one=Part(_weights(build, phi, fed.get("weights"), mask, by_row=by_row), 1),
        features=Part(phi, head.p, inner),
        outputs=Part(f, head.C, elements),
        targets=Part(y, K) if K else None,
        labels=y,
        fed=fed,
    )


def _weights(build: Builder, table: str, weights: str | None, mask: str | None, *, by_row: bool) -> str:
    """Weights of the rows, of shape (rows, 1): those that are fed, times the mask of the model's own inputs."""
    fed = None if weights is None else build.per_row(weights, table, 1, by_row=by_row)
    one = build.ones(table) if fed is None else build.column(fed)
    if mask is not None:
        one = build.add("Mul", [one, build.cast(build.column(mask), TensorProto.DOUBLE)])
    return one
