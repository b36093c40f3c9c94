"""Keras models with what Keras' own inner layers say of the penultimate layer.

Each case is a model, random rows for it, and `hook(x) -> (features, outputs)`, the outputs before any softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

P, CLASSES, TOKENS = 16, 5, 11
Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model, the shape of a row, and whether rows are token ids."""

    model: keras.Model
    shape: tuple[int, ...]
    tokens: bool = False

    def rows(self, n: int) -> np.ndarray:
        """Random rows that differ from each other."""
        rng = np.random.default_rng(0)
        if self.tokens:
            return rng.integers(0, TOKENS, (n, *self.shape)).astype(np.int32)
        return (rng.normal(size=(n, *self.shape)) + rng.normal(size=(n, *[1] * len(self.shape)))).astype(np.float32)

    def hook(self, x: np.ndarray) -> Pair:
        """What reaches the layer named head, by a Keras model that ends there, and its outputs before activation."""
        if isinstance(self.model, Subclassed):
            features = np.asarray(self.model.hidden(x))
        else:
            features = np.asarray(
                keras.Model(self.model.inputs[0], self.model.get_layer("head").input)(x, training=False)
            )
        head = self.model.get_layer("head")
        return features, features @ np.asarray(head.kernel) + np.asarray(head.bias)


class Subclassed(keras.Model):
    """A model that is Python code, with a parameter of its own name."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.score = layers.Dense(P, activation="tanh"), layers.Dense(CLASSES, name="head")

    def call(self, table: Any) -> Any:
        """Scores; no training argument."""
        return self.score(self.hidden(table))


def randomised(model: keras.Model) -> keras.Model:
    """Random weights: no bias is zero, no norm neutral."""
    rng = np.random.default_rng(5)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            wide = len(weight.shape) > 1
            value = (
                rng.normal(0, 1 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)
                if wide
                else rng.uniform(0.5, 1.5, weight.shape)
            )
            weight.assign(value.astype(np.float32))
    return model


def mlp() -> keras.Model:
    """Sequential, with normalisation, dropout and softmax."""
    hidden = layers.Dense(P, activation="relu")
    return keras.Sequential(
        [
            keras.Input((10,)),
            hidden,
            layers.LayerNormalization(),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, "softmax", name="head"),
        ]
    )


def cnn() -> keras.Model:
    """Convolution, batch norm, pooling; a named input."""
    x = entry = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(P, 3, padding="same", name="conv")(x)))
    return keras.Model(entry, layers.Dense(CLASSES, name="head")(layers.GlobalAveragePooling2D()(x)))


def transformer() -> keras.Model:
    """Embedding, attention, an exact GELU; the mean token."""
    x = entry = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(TOKENS, 8)(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(layers.Dense(P, activation="gelu")(x)))
    return keras.Model(entry, layers.Dense(CLASSES, name="head")(x))


def lstm() -> keras.Model:
    """A recurrent layer."""
    return keras.Sequential([keras.Input((6, 8)), layers.LSTM(P), layers.Dense(CLASSES, name="head")])


def subclassed() -> keras.Model:
    """The subclassed model, built by a call."""
    model = Subclassed()
    model(np.zeros((2, 10), np.float32))
    return model


def cases() -> dict[str, Callable[[], Case]]:
    """All models."""
    return {
        "mlp": lambda: Case(randomised(mlp()), (10,)),
        "cnn": lambda: Case(randomised(cnn()), (8, 8, 3)),
        "transformer": lambda: Case(randomised(transformer()), (6,), tokens=True),
        "lstm": lambda: Case(randomised(lstm()), (6, 8)),
        "subclassed": lambda: Case(randomised(subclassed()), (10,)),
    }
