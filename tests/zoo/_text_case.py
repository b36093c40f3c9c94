"""What a hand-written model consists of, and the arithmetic that its truth is computed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from _record import Array

Weights = dict[str, Array]
Truth = Callable[[Weights], list[tuple[Array, Array]]]


@dataclass(frozen=True)
class Case:
    """One text.

    Attributes:
        name: name in the zoo.
        text: the nodes behind the hidden layer, or the whole graph where `whole`.
        truth: gives (features, logits) for each head from inputs and weights in double; None for a negative.
        arrays: further arrays.
        returns: the graph's outputs from the same and the logits; None to check no output.
        inputs: makes the inputs.
        output: type of the output `y`.
        functions: text of local functions.
        sparse: arrays to store as sparse initializers.
    """

    name: str
    text: str
    truth: Truth | None = None
    arrays: Callable[[np.random.Generator, Weights], Weights] = lambda rng, w: {}
    returns: Callable[[Weights, list[Array]], list[Array | None]] | None = lambda w, logits: list(logits)
    inputs: Callable[[np.random.Generator], Weights] = lambda rng: {"x": rng.normal(size=(32, 10)).astype(np.float32)}
    output: str = "float[N, 5]"
    opset: int = 17
    ir: int = 8
    domains: str = ""
    functions: str = ""
    whole: bool = False
    rows: str = "sample"
    sparse: tuple[str, ...] = ()
    more: dict[str, object] = field(default_factory=dict)


def weights(rng: np.random.Generator) -> Weights:
    """The hidden layer's and the head's weights."""
    head = (rng.normal(size=(16, 5)) / 4).astype(np.float32)
    return {
        "A": (rng.normal(size=(10, 16)) / 2).astype(np.float32),
        "a": rng.normal(size=16).astype(np.float32) / 2,
        "W": head,
        "Wt": np.ascontiguousarray(head.T),
        "b": rng.normal(size=5).astype(np.float32),
    }


def hidden(w: Weights) -> Array:
    """The features h."""
    return np.maximum(w["x"] @ w["A"] + w["a"], 0)


def linear(effective: Callable[[Weights], tuple[Array, Array | float]] = lambda w: (w["W"], w["b"])) -> Truth:
    """The truth of a head with these effective weights on h."""

    def truth(w: Weights) -> list[tuple[Array, Array]]:
        kernel, bias = effective(w)
        return [(hidden(w), hidden(w) @ kernel + bias)]

    return truth


def softmax(scores: Array) -> Array:
    """Along the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
