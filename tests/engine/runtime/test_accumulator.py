"""Sums on the device: batches joined in one product, blocks that lanes share, and work that fails or waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from clock import DEADLINE, wait_until
from onnx import TensorProto, helper, numpy_helper
from zoo_text import refused

from onnxrich.engine.runtime import BATCHES_AHEAD, Accumulator, LanePool, Session, choose_device
from onnxrich.errors import ModelError
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

p, C = 6, 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 4)).astype(np.float32)
Y = np.eye(C)[RNG.integers(0, C, len(X))]
SHIFT = np.concatenate([[0.0], np.full(p + C, 0.25), np.zeros(C)])


def patched(*, runs: int = 1) -> tuple[rewrite.Patch, Session]:
    """The patch of a 4-6-3 network whose rows count or not, for so many batches a product, and a session over it."""
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
    read = read_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    patch = rewrite.instrument(
        read, head.find_head(read), K=C, with_tallies=True, masked=True, batches_per_product=runs
    )
    return patch, Session([read.data, patch.data], folder=None, device=choose_device("cpu"), name="small")


def accumulator(*, runs: int = 1, blocks: Sequence[int] = (0,)) -> tuple[rewrite.Patch, Accumulator]:
    """The patch, and an accumulator of some blocks."""
    patch, session = patched(runs=runs)
    return patch, Accumulator(session, patch, SHIFT, blocks=blocks)


def two_lanes() -> tuple[rewrite.Patch, LanePool]:
    """The patch, and two lanes with six blocks."""
    patch, session = patched()
    return patch, LanePool([session, session], patch, SHIFT, blocks=6)


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
def test_joined_batches_are_batches_one_by_one(sizes: tuple[int, ...]) -> None:
    """The product of several batches and their tallies are the sums of those of each, to rounding."""
    single_patch, single = accumulator(runs=1)
    for feed in feeds(single_patch, sizes):
        single.add([feed], 0)
    joined_patch, joined = accumulator(runs=4)
    joined.add(feeds(joined_patch, sizes), 0)
    sums, expected = joined.read(0), single.read(0)
    # At most 40 terms a sum, each off by half an eps.
    for a, b in zip(sums, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=40 * np.finfo(float).eps * np.abs(b).max())
    assert joined_patch.tallies(sums)["correct"] == single_patch.tallies(expected)["correct"] > 0


def test_sums_of_two_products_add() -> None:
    """What was added before stays: tallies and sums go on from one product to the next."""
    patch, sums = accumulator(runs=4)
    batches = feeds(patch, (10, 10, 20))
    sums.add(batches[:2], 0)
    before = patch.tallies(sums.read(0))["cross_entropy"]
    sums.add(batches[2:], 0)
    _, whole = accumulator(runs=4)
    whole.add(batches, 0)
    assert patch.matrix(sums.read(0))[0, 0] == np.count_nonzero(np.arange(40) % 3)
    np.testing.assert_allclose(patch.matrix(sums.read(0)), patch.matrix(whole.read(0)), rtol=1e-12, atol=1e-12)
    assert patch.tallies(sums.read(0)) == pytest.approx(patch.tallies(whole.read(0)), rel=1e-13)
    assert 0 < before < patch.tallies(sums.read(0))["cross_entropy"]


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_failed_run_leaves_the_sums(broken: int) -> None:
    """Whichever of several batches fails, none of them counts."""
    patch, sums = accumulator(runs=3)
    sums.add(feeds(patch, (5, 5, 5)), 0)
    before = [array.copy() for array in sums.read(0)]
    batches = feeds(patch, (5, 5, 5))
    batches[broken]["x"] = batches[broken]["x"][:, :3]
    with pytest.raises(ModelError, match="it fails on this batch"):
        sums.add(batches, 0)
    for a, b in zip(sums.read(0), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_restored_sums_go_on() -> None:
    """A block that is restored from another gives the same bits when the same batch is added to both."""
    patch, sums = accumulator(blocks=(0, 1))
    first, second = feeds(patch, (10, 20))
    sums.add([first], 0)
    before = [array.copy() for array in sums.read(0)]
    sums.restore(1, before)
    for block in (0, 1):
        sums.add([second], block)
    for a, b in zip(sums.read(0), sums.read(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert before[0][0, 0] == 6  # of ten rows, those with a weight


def test_drained_sums_are_released() -> None:
    """The sums of a block are released when those of the next one are read."""
    patch, session = patched()
    lanes = LanePool([session], patch, SHIFT, blocks=2)
    (feed,) = feeds(patch, (10,))

    def work(accumulator: Accumulator, block: int) -> None:
        accumulator.add([feed], block)

    lanes.add(work, 0)
    drained = lanes.drain()
    assert next(drained)[0][0, 0] == 6
    assert next(drained)[0][0, 0] == 0
    first, second = lanes.read()
    assert not any(array.size for array in first)
    assert all(array.size for array in second)


def test_lanes_work_at_the_same_time() -> None:
    """Work for two lanes overlaps: each waits until the other has begun."""
    _, lanes = two_lanes()
    both = threading.Barrier(2, timeout=DEADLINE)
    with lanes:
        for block in range(2):
            lanes.add(lambda *_: both.wait(), block)
        lanes.wait()


def test_errors_of_a_lane_come_out() -> None:
    """What fails in one of several lanes fails the pass, at the latest when it waits for the end."""

    def fail(*_: object) -> None:
        raise ModelError("it fails", "another", "Try it.")

    _, lanes = two_lanes()
    with lanes, refused(ModelError, "it fails"):
        lanes.add(fail, 1)
        lanes.wait()


def test_lanes_do_not_hoard() -> None:
    """No more batches wait for a lane than it can begin with at once: reading stops meanwhile."""
    _, lanes = two_lanes()
    gate, added, done = threading.Event(), list[int](), list[int]()

    def work(_: Accumulator, block: int) -> None:
        gate.wait(DEADLINE)
        done.append(block)

    def feed() -> None:
        for number in range(5):
            lanes.add(work, 0)
            added.append(number)

    with lanes:
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        assert wait_until(lambda: len(added) == BATCHES_AHEAD)
        # A feeder that did not wait would add the others at once.
        feeder.join(0.3)
        assert feeder.is_alive() and len(added) == BATCHES_AHEAD
        gate.set()
        feeder.join(DEADLINE)
        lanes.wait()
    assert len(done) == 5


def test_requested_sums_wait_for_nobody() -> None:
    """Who asks for the sums goes on; each lane gives its own when the work submitted before is done."""
    patch, lanes = two_lanes()
    gate = threading.Event()
    (feed,) = feeds(patch, (10,))

    def slow(accumulator: Accumulator, block: int) -> None:
        gate.wait(DEADLINE)
        accumulator.add([feed], block)

    with lanes:
        lanes.add(slow, 0)
        first, second = lanes.request_sums()
        assert second.result(DEADLINE).sums[0][0, 0] == 0
        assert not first.done()
        gate.set()
        assert first.result(DEADLINE).sums[0][0, 0] == 6  # the sum of the weights over the rows
        lanes.add(slow, 2)
        assert sum(future.result(DEADLINE).sums[0][0, 0] for future in lanes.request_sums()) == 12
