"""Sums on the device: batches that are added together, by one product, give what each by itself would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxrich.engine.runtime import Accumulator, Session, choose_device
from onnxrich.errors import ModelError
from onnxrich.model import file as model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

p, C = 6, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4)).astype(np.float32)
Y = np.eye(C)[RNG.integers(0, C, len(X))]


def accumulator(*, runs: int) -> tuple[rewrite.Patch, Accumulator]:
    """Of a 4-6-3 network whose rows count or not, with a block 0, for so many runs a product."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["phi"]),
        helper.make_node("MatMul", ["phi", "v"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 4), ("y", C))]
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (4, p)), ("v", (p, C)))
    ]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], weights)
    read = model.read(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    patch = rewrite.instrument(read, head.find(read), K=C, count=True, masked=True, runs=runs)
    live = Session([read.data, patch.data], folder=None, device=choose_device("cpu"), name="small")
    shift = np.concatenate([[0.0], np.full(p + C, 0.25), np.zeros(C)])
    return patch, Accumulator(live, patch, shift, blocks=[0])


def feeds(patch: rewrite.Patch, sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Consecutive rows of X in batches of these sizes, of which every third has no weight."""
    assert patch.weights is not None
    assert patch.targets is not None
    weights = (np.arange(len(X)) % 3 > 0).astype(float)[:, None]
    stops = np.cumsum(sizes)
    return [
        {"x": X[stop - size : stop], patch.targets: Y[stop - size : stop], patch.weights: weights[stop - size : stop]}
        for size, stop in zip(sizes, stops, strict=True)
    ]


@pytest.mark.parametrize("sizes", [(40,), (20, 20), (7, 13, 20), (1, 38, 1), (10, 10, 10, 10)])
def test_batches_together_are_batches_one_by_one(sizes: tuple[int, ...]) -> None:
    """The product of several batches and their tallies are the sums of those of each, to rounding."""
    one, alone = accumulator(runs=1)
    for each in feeds(one, sizes):
        alone.add([each], 0)
    several, together = accumulator(runs=4)
    together.add(feeds(several, sizes), 0)
    got, expected = together.read(0), alone.read(0)
    # At most 40 terms a sum, each off by half an eps.
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=40 * np.finfo(float).eps * np.abs(b).max())
    assert several.tallies(got)["correct"] == one.tallies(expected)["correct"] > 0


def test_sums_of_two_products_add() -> None:
    """What was added before stays: tallies and sums go on from one product to the next."""
    patch, sums = accumulator(runs=4)
    given = feeds(patch, (10, 10, 20))
    sums.add(given[:2], 0)
    before = patch.tallies(sums.read(0))["cross_entropy"]
    sums.add(given[2:], 0)
    _, whole = accumulator(runs=4)
    whole.add(given, 0)
    assert patch.matrix(sums.read(0))[0, 0] == np.count_nonzero(np.arange(40) % 3)
    np.testing.assert_allclose(patch.matrix(sums.read(0)), patch.matrix(whole.read(0)), rtol=1e-12, atol=1e-12)
    assert patch.tallies(sums.read(0)) == pytest.approx(patch.tallies(whole.read(0)), rel=1e-13)
    assert 0 < before < patch.tallies(sums.read(0))["cross_entropy"]


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_run_that_fails_leaves_the_sums(broken: int) -> None:
    """Whichever of several batches fails, none of them counts."""
    patch, sums = accumulator(runs=3)
    sums.add(feeds(patch, (5, 5, 5)), 0)
    before = [value.copy() for value in sums.read(0)]
    given = feeds(patch, (5, 5, 5))
    given[broken]["x"] = given[broken]["x"][:, :3]
    with pytest.raises(ModelError):
        sums.add(given, 0)
    for a, b in zip(sums.read(0), before, strict=True):
        np.testing.assert_array_equal(a, b)
