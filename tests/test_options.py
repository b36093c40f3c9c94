"""Arguments are checked before anything is read, in words and not by a traceback from deep inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from zoo_text import refused

import onnxrich
from onnxrich.errors import DataError, WorkerError

MODEL, DATA = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "run": partial(onnxrich.run, MODEL, DATA),
    "compare": partial(onnxrich.compare, [MODEL], DATA),
    "track": partial(onnxrich.track, [MODEL], DATA),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("head", "all", "a whole number from 1. Pass --head N with N ≥ 1"),
        ("head", 0, "a whole number from 1"),
        ("batch_size", 2.5, "a whole number from 1. Pass --batch-size N with N ≥ 1"),
        ("batch_size", 0, "a whole number from 1"),
        ("blocks", "4", "a whole number from 0"),
        ("blocks", -1, "a whole number from 0"),
        ("seed", -1, "a whole number from 0. Pass --seed N with N ≥ 0"),
    ],
)
def test_whole_numbers(function: str, name: str, value: Any, needed: str) -> None:
    """What is no whole number, or too small a one, is refused by its name."""
    with refused(DataError, f"{name} {value!r}", needed):
        FUNCTIONS[function](**{name: value})


@pytest.mark.parametrize("token", ["first", 1.0])
def test_token(token: Any) -> None:
    """A token is a whole number, from either end."""
    with refused(DataError, f"token {token!r}", "a whole number. Pass --token N."):
        onnxrich.run(MODEL, DATA, layers="all", token=token)


@pytest.mark.parametrize("isolate", [False, True])
def test_whole_numbers_of_numpy(isolate: bool) -> None:
    """NumPy's integers are as good as Python's, in a worker process too."""
    numbers = {"batch_size": np.int64(200), "blocks": np.int32(3), "seed": np.uint8(1), "head": np.int16(1)}
    found = onnxrich.run(MODEL, DATA, device="cpu", isolate=isolate, **numbers)
    assert (found.record.runtime.batch_size, found.record.runtime.blocks) == (200, 3)


@pytest.mark.parametrize("layers", [[], "", ["h1", ""]])
def test_layers_without_a_name(layers: Any) -> None:
    """No name is no wish for all layers, nor for none."""
    with refused(DataError, f"layers {layers!r}", '"all", or names'):
        onnxrich.run(MODEL, DATA, layers=layers)


@pytest.mark.parametrize("limit", ["timeout", "max_memory"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_limits_need_a_process(function: str, limit: str) -> None:
    """A limit that nothing could keep is not taken silently."""
    with refused(WorkerError, "a time or memory limit for work in this process", "isolate=True"):
        FUNCTIONS[function](**{limit: 1 << 30})
