"""The shapes of a layer's tensor decide how it becomes rows."""

from __future__ import annotations

from typing import Any

import pytest

from onnxrich.model.head.pooling import Pool, Shapes, choose_pool
from onnxrich.model.mask import Mask


def choose(dims: tuple[int, ...], *others: tuple[int, ...], **options: Any) -> Pool | str:
    """The pool of a tensor that has these shapes in runs of 3 and of 5 samples."""
    runs = (dims, *others)
    defaults = {"features_axis": None, "rows_per_sample": 1, "mask": None, "token": None, "is_double": False}
    return choose_pool(Shapes((3, 5)[: len(runs)], runs), **(defaults | options))


@pytest.mark.parametrize(
    ("runs", "options", "kind", "axes"),
    [
        (((3, 8), (5, 8)), {}, "as it is", (0, 1)),
        (((3, 8, 4, 4), (5, 8, 4, 4)), {}, "mean over positions", (0, 1)),
        (((3, 4, 4, 8), (5, 4, 4, 8)), {"features_axis": -1}, "mean over positions", (0, 3)),
        (((3, 7, 8), (5, 7, 8)), {}, "mean over tokens", (0, 2)),
        (((7, 3, 8), (7, 5, 8)), {}, "mean over tokens", (1, 2)),
        (((3, 7, 8), (5, 7, 8)), {"mask": (Mask("mask"), 7)}, "masked mean over tokens", (0, 2)),
        (((3, 7, 8), (5, 7, 8)), {"mask": (Mask("mask"), 9)}, "mean over tokens", (0, 2)),
        (((3, 7, 8), (5, 7, 8)), {"token": -7, "mask": (Mask("mask"), 7)}, "token", (0, 2)),
        (((3, 7, 8), (5, 7, 8)), {"rows_per_sample": 7}, "each row", (0, 2)),
        (((21, 8), (35, 8)), {"rows_per_sample": 7}, "each row", (0, 1)),
    ],
)
def test_pools(runs: Any, options: dict[str, Any], kind: str, axes: tuple[int, int]) -> None:
    """Samples are the axis that follows their number; the rest is averaged, unless the head has a row for each."""
    pool = choose(*runs, **options)
    assert isinstance(pool, Pool)
    assert (pool.kind, (pool.samples_axis, pool.features_axis)) == (kind, axes)


@pytest.mark.parametrize(
    ("runs", "options", "reason"),
    [
        (((8,), (8,)), {}, "its shape is (8), which is no table"),
        (((3, 8), (3, 5, 8)), {}, "its shape is (3, 8), which is no table"),
        (((9, 9), (9, 9)), {}, "no axis of its shape (9, 9) runs over the samples"),
        (((21, 8), (35, 8)), {}, "samples share axis 0 with tokens or positions"),
        (((8, 3), (8, 5)), {}, "its features and the samples share an axis of its shape (8, 3)"),
        (((3, 8), (5, 9)), {}, "its number of features is that of the samples or changes with it"),
        (((3, 7, 8), (5, 7, 8)), {"token": 7}, "it has 7 tokens, and no token 7"),
        (((3, 6, 8), (5, 6, 8)), {"rows_per_sample": 7}, "it has 6 rows a sample, and the head 7"),
    ],
)
def test_reasons(runs: Any, options: dict[str, Any], reason: str) -> None:
    """A tensor that can't become rows comes with the reason."""
    result = choose(*runs, **options)
    assert isinstance(result, str)
    assert result.startswith(reason)
