"""Random states are as they were, after whatever draws from them."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator

import numpy as np
import pytest

from onnxrich.frameworks.randomness import find_generators, isolated, preserved_randomness


class Sampler:
    """Holds generators as samplers and augmentations do: in attributes, in lists, in functions and in methods."""

    def __init__(self) -> None:
        self.numpy, self.old, self.python = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)
        hidden = np.random.default_rng(1)
        self.steps = [functools.partial(self.numpy.normal), lambda: hidden.normal(), functools.partial(self.draw)]

    def draw(self) -> list[float]:
        """One number of each source."""
        own = [self.numpy.normal(), self.old.normal(), self.python.random(), self.steps[1]()]
        return [*own, random.random(), np.random.random()]

    def __iter__(self) -> Iterator[list[float]]:
        return (self.draw() for _ in range(3))


def test_find_generators() -> None:
    """Generators are found wherever an object holds them, each once."""
    assert len(find_generators(Sampler())) == 4
    assert find_generators({"rows": list(range(10_000))}) == ()


def test_preserved_randomness() -> None:
    """What is drawn inside is drawn again behind it, also after an error."""
    sampler = Sampler()
    with preserved_randomness(sampler):
        drawn = sampler.draw()
    with pytest.raises(KeyError), preserved_randomness(sampler):
        sampler.draw()
        raise KeyError
    assert sampler.draw() == drawn


def test_isolated() -> None:
    """A loader draws new numbers for each item, the same in each reading; others draw as if it had drawn none."""
    sampler = Sampler()
    with preserved_randomness(sampler):
        expected = sampler.draw()
    items = []
    for item in isolated(sampler):
        items.append(item)
        with preserved_randomness(sampler):
            assert sampler.draw() == expected
    assert len({tuple(item) for item in items}) == 3
    assert list(isolated(sampler)) == items
