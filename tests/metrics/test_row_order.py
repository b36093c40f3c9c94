"""Rows in an order are found, whichever it is; rows in random order are not taken for such."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from onnxrich.metrics.base import Sample
from onnxrich.metrics.row_order import row_order_notice, row_order_ratio
from onnxrich.moments.matrix import Moments


@pytest.mark.parametrize("labelled", [True, False])
def test_rows_in_an_order_are_found(labelled: bool) -> None:
    """Rows sorted by class make blocks of different mixtures, with labels and without; shuffled rows don't."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 1600)
    features = rng.standard_normal((1600, 6)) + 2 * rng.standard_normal((4, 6))[labels]
    data = (features, features @ rng.standard_normal((6, 4)), labels)
    order = np.argsort(data[2], kind="stable")

    def sample(index: np.ndarray) -> Sample:
        parts = [Moments.from_rows(*(each[i] for each in data[: 2 + labelled])) for i in np.split(index, 16)]
        return Sample.from_moments(reduce(Moments.merge, parts), parts)

    ratio = row_order_ratio(sample(order))
    # Each block is of one class: its mean scatters n_b = 100 times as much as chance allows.
    assert ratio is not None and 50 < ratio < 110
    assert row_order_ratio(sample(np.arange(1600))) is None
    assert "are alike: the blocks' means scatter" in row_order_notice(ratio).message


@pytest.mark.parametrize("apart", [0.0, 6.0])
def test_classes_by_turns_are_found(apart: float) -> None:
    """Blocks that share out the classes are no independent draws: seen where the outputs tell the classes apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(480) % 3
    features = rng.standard_normal((480, 4)) + apart * rng.standard_normal((3, 4))[labels]
    mixed = rng.permutation(480)

    def sample(index: np.ndarray) -> Sample:
        parts = [Moments.from_rows(features[i], features[i, :3], labels[i]) for i in np.split(index, 16)]
        return Sample.from_moments(reduce(Moments.merge, parts), parts)

    ratio = row_order_ratio(sample(np.arange(480)))
    assert (ratio is not None) == (apart > 0)
    if ratio is not None:
        assert ratio < 0.5
        assert "alternate: the blocks' means scatter" in row_order_notice(ratio).message
    assert row_order_ratio(sample(mixed)) is None


def test_chance_is_not_taken_for_order() -> None:
    """Of 300 samples in random order none is called ordered, six sigmas above chance or four below: once in 30,000."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        labels = rng.integers(0, 4, 320)
        features = rng.standard_normal((320, 3))
        parts = [Moments.from_rows(features[i], np.eye(4)[labels[i]], labels[i]) for i in np.split(np.arange(320), 16)]
        assert row_order_ratio(Sample.from_moments(reduce(Moments.merge, parts), parts)) is None


def test_few_outputs_of_few_rows_are_no_turns() -> None:
    """Five blocks of two rows with one of two classes each share them out evenly by chance once in 32 times."""
    labels = np.tile([0, 1], 5)
    parts = [Moments.from_rows(np.eye(2)[pair], np.eye(2)[pair], pair) for pair in np.split(labels, 5)]
    assert row_order_ratio(Sample.from_moments(reduce(Moments.merge, parts), parts)) is None
    assert row_order_ratio(Sample.from_moments(reduce(Moments.merge, parts[:3]), parts[:3])) is None


def test_the_notice_says_how_much() -> None:
    """The ratio is told in plain numbers."""
    for ratio, said in (
        (3.84, "3.8 times as much as"),
        (3841.0, "3,841 times"),
        (0.25, "0.25 times"),
        (0.0, "hardly at all"),
    ):
        assert said in row_order_notice(ratio).message
