"""The zoo: the head of every exported model is found, its rows are the framework's, and nothing is guessed."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import oracle
import pytest
from repository import ZOO

import onnxrich
from onnxrich.engine import runtime as session
from onnxrich.errors import HeadError, OnnxrichError
from onnxrich.model.file import Model, read_model
from onnxrich.model.head import head
from onnxrich.model.head.head import Head
from onnxrich.model.patch import instrument as rewrite

INDEX: list[dict[str, Any]] = json.loads((ZOO / "zoo.json").read_text())

WITH_HEAD = [entry for entry in INDEX if entry["expected"] == "head"]
SEVERAL = [entry for entry in INDEX if entry["expected"] == "several"]
REFUSED = [entry for entry in INDEX if entry["expected"] == "refuse"]
# Every tenth model with a head belongs to the core suite, which so has some of each family.
EACH_WITH_HEAD = [
    pytest.param(entry, marks=() if number % 10 == 0 else pytest.mark.extensive)
    for number, entry in enumerate(WITH_HEAD)
]


def name_of(entry: dict[str, Any]) -> str:
    return f"{entry['family']}-{entry['name']}"


def truth_of(entry: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs, and the recorded truth."""
    arrays = dict(np.load(ZOO / entry["truth"]))
    inputs = {key.removeprefix("input/"): value for key, value in arrays.items() if key.startswith("input/")}
    return inputs, arrays


def rows_of(read: Model, found: Head, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features and outputs that the patched model gives, in batches of the model's own size."""
    patch = rewrite.instrument(read, found)
    live = session.Session([read.data, patch.data], folder=read.folder, device=session.choose_device("cpu"), name="zoo")
    zeros = {name: np.zeros(shape) for name, shape in zip(patch.accumulators, patch.shapes, strict=True)}
    zeros[patch.shift] = np.zeros((1, patch.edges[-1]))
    n = len(next(iter(inputs.values())))
    first = read.inputs[0].shape
    size = first[0] if first and isinstance(first[0], int) else n
    parts = []
    for start in range(0, n, size):
        have = min(size, n - start)
        index = start + np.minimum(np.arange(size), have - 1)
        features, outputs = live.run(
            [patch.features, patch.outputs], {name: array[index] for name, array in inputs.items()} | zeros
        )
        features, outputs = features.astype(float), outputs.astype(float)
        rows = len(features) // size * have
        parts.append((features[:rows], outputs[:rows]))
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def apart(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value; infinite for another shape."""
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def analyze(entry: dict[str, Any]) -> onnxrich.Analysis:
    """The analysis through the whole pipeline."""
    inputs, _ = truth_of(entry)
    return onnxrich.run(ZOO / entry["file"], inputs, batch_size=8, device="cpu")


@pytest.mark.parametrize("entry", EACH_WITH_HEAD, ids=name_of)
def test_head_is_the_frameworks(entry: dict[str, Any]) -> None:
    """Features and logits equal what a hook in the framework saw, and W φ + b explains the logits."""
    read = read_model(ZOO / entry["file"])
    found = head.find_head(read)
    inputs, truth = truth_of(entry)
    features, outputs = rows_of(read, found, inputs)
    distance = head.affine_residual(found, features, outputs)
    assert distance is not None
    assert distance <= head.allowed_residual(found)
    expected, logits = truth["features"], truth["logits"]
    if len(features) == len(truth.get("chosen/features", ())):
        # One token is chosen behind the head: the rows that reach the output are the head's.
        expected, logits = truth["chosen/features"], truth["chosen/logits"]
    if entry.get("tensor_order") == "TN":
        times = len(features) // len(next(iter(inputs.values())))
        features, outputs = (
            rows.reshape(times, -1, rows.shape[1]).swapaxes(0, 1).reshape(rows.shape) for rows in (features, outputs)
        )
    assert apart(features, expected) <= entry["rtol_features"]
    scaled = (outputs - entry.get("shift_after", 0.0)) / entry.get("scale_after", 1.0)
    assert min(apart(outputs, logits), apart(scaled, logits)) <= entry["rtol_logits"]


@pytest.mark.parametrize("entry", EACH_WITH_HEAD, ids=name_of)
def test_d_lr_is_the_definitions(entry: dict[str, Any]) -> None:
    """Through the whole pipeline, in batches and with padding masked, D_LR equals n × n matrices of the found rows."""
    read = read_model(ZOO / entry["file"])
    inputs, truth = truth_of(entry)
    features, outputs = rows_of(read, head.find_head(read), inputs)
    results = analyze(entry)
    if results.record.head.mask is not None:
        features, outputs = features[truth["mask"]], outputs[truth["mask"]]
    assert results.record.data.n == len(features)
    expected = oracle.d_lr(features, outputs, results.moments.resolution)
    # The same float32 model in other batches: 1e-4 is the zoo's own tolerance for it. Eight-bit activations are scaled
    # by the range of their batch where quantisation is dynamic, so that there batches differ by their rounding.
    tolerance = max(1e-4, entry["rtol_features"] if "dynamic" in entry["name"] else 0.0)
    assert results.metrics["d_lr"] == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("entry", SEVERAL, ids=name_of)
def test_several_heads_are_listed(entry: dict[str, Any]) -> None:
    """Several heads end in an error that names each."""
    with pytest.raises(HeadError, match="possible heads") as caught:
        head.find_head(read_model(ZOO / entry["file"]))
    assert str(caught.value).count("--outputs") >= len(entry["heads"])


@pytest.mark.parametrize("entry", REFUSED, ids=name_of)
def test_no_head_is_refused(entry: dict[str, Any]) -> None:
    """A model without a last linear layer ends in an error, never in a number."""
    with pytest.raises(OnnxrichError):
        analyze(entry)


def test_the_zoo_is_broad() -> None:
    """The zoo holds what it promises: at least 80 models with a head, of six families, and negatives."""
    families = Counter(entry["family"] for entry in WITH_HEAD)
    assert sum(families.values()) >= 330
    assert set(families) == {"torch", "tensorflow", "jax", "sklearn", "text", "derived"}
    assert len(REFUSED) >= 30
