"""Blocks on one session and on several, nodes by provider, and batches that memory does not hold."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from zoo_text import build, refused

from onnxrich.data import open as sources
from onnxrich.data.source import Batch
from onnxrich.engine import prepared as feeding
from onnxrich.engine import prepared as live
from onnxrich.engine import result
from onnxrich.engine import runtime as session
from onnxrich.engine import single_pass as stream
from onnxrich.engine.accumulation import Accumulation
from onnxrich.engine.batches import Batches
from onnxrich.engine.layers import LayerRequest
from onnxrich.engine.runtime import Accumulator, LanePool
from onnxrich.errors import ModelError
from onnxrich.model import file as model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite
from onnxrich.progress import Timing

CPU = session.choose("cpu")
X = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
Y = np.arange(100) % 3


def network() -> bytes:
    """A 6-8-3 network."""
    rng = np.random.default_rng(1)
    shapes = {"w": (6, 8), "v": (8, 3), "c": (3,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    body = "a = MatMul(x, w)\n h = Relu(a)\n y = Gemm(h, v, c)"
    return build(body, **tensors).SerializeToString()


def passed(device: session.Choice = CPU, **options: object) -> result.PassResult:
    """One pass over the rows."""
    read = model.read(network())
    source = sources.open_source(read, {"x": X, "labels": Y}, None)
    given: dict = {"batch": 7, "device": device} | options
    return stream.measure_one(read, head.find(read), source, **given)


def test_blocks_are_the_batches_dealt_in_turn() -> None:
    """Block g holds the rows of the batches b ≡ g, and no others; all of them make the whole."""
    made = passed(blocks=4)
    a = np.maximum(X.astype(float) @ np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32), 0)
    for g, block in enumerate(made.blocks):
        rows = np.concatenate([a[start : start + 7] for start in range(7 * g, 100, 28)])
        assert block.n == len(rows)
        # Float32 activations: each product is exact to some 1e-7 of its size.
        np.testing.assert_allclose(block.raw("features", "features"), rows.T @ rows, rtol=1e-5, atol=1e-4)
    assert made.moments.n == sum(block.n for block in made.blocks) == 100
    whole = passed(blocks=0)
    assert whole.blocks == ()
    scale = np.abs(whole.moments.matrix).max()
    np.testing.assert_allclose(made.moments.matrix / scale, whole.moments.matrix / scale, atol=1e-14)


@pytest.mark.parametrize("devices", [2, 3, 5])
def test_several_devices_give_the_same_bits(devices: int) -> None:
    """Sums don't depend on how many sessions share the work: here several on the CPU, each in a thread of its own."""
    one, several = passed(blocks=5), passed(replace(CPU, numbers=tuple(range(devices))), blocks=5)
    np.testing.assert_array_equal(one.moments.matrix, several.moments.matrix)
    assert one.moments.tallies == several.moments.tallies
    for a, b in zip(one.blocks, several.blocks, strict=True):
        np.testing.assert_array_equal(a.matrix, b.matrix)


@pytest.mark.parametrize("lanes", [2, 3])
def test_runs_at_once_give_the_same_bits(lanes: int) -> None:
    """Nor do they depend on how many runs go on at once in a session."""
    read, one = model.read(network()), passed(blocks=6)
    source = sources.open_source(read, {"x": X, "labels": Y}, None)
    with Batches(source, 7) as batches:
        made, first = stream.prepare_pass(
            read, head.find(read), source, batches, mask=None, blocks=6, device=replace(CPU, lanes=lanes), size=7,
            listen=lambda _: None,
        )  # fmt: skip
        summing = Accumulation(made, first, residual=0.0, blocks=6)
        assert len(summing.fleet.totals()) == lanes
        with summing.fleet:
            summing.run(batches, total=100, timing=Timing(), listen=lambda _: None)
        for a, b in zip(one.blocks, summing.blocks(), strict=True):
            np.testing.assert_array_equal(a.matrix, b.matrix)
            assert a.tallies == b.tallies


@pytest.mark.parametrize(("batch", "blocks", "memory", "lanes"), [
    (5, None, None, 2), (5, 7, None, 1), (50, None, None, 1), (5, None, 1, 1),
])  # fmt: skip
def test_enough_runs_go_on_at_once(
    monkeypatch: pytest.MonkeyPatch, batch: int, blocks: int | None, memory: int | None, lanes: int
) -> None:
    """Two on two cores, where there are enough of them, in blocks that two share, and as memory allows."""
    monkeypatch.setattr("onnxrich._utils.threads.usable_cores", lambda: 2)
    made = passed(batch=batch, blocks=blocks, memory=memory)
    assert made.live.session.device.lanes == lanes
    assert made.moments.n == 100


def test_another_provider_gets_one_run_at_a_time() -> None:
    """Providers with threads of their own share the cores as they see fit."""
    read = model.read(network())
    source = sources.open_source(read, {"x": X}, None)
    other = replace(CPU, provider="OpenVINOExecutionProvider")
    assert stream._in_lanes(other, head.find(read), source, 1, None) == other


def test_tiles_are_those_of_the_memory() -> None:
    """On a CPU tiles fit a core's cache; larger ones are for GPUs, and for models that others drive."""
    body, wide = "a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v)", np.ones((6, 700), np.float32)
    read = model.read(build(body, w=wide, v=np.ones((700, 3), np.float32)))
    source = sources.open_source(read, {"x": X}, None)
    made = stream.measure_one(read, head.find(read), source, device=CPU, layers=LayerRequest(("a",))).live
    own = (made.patch, *made.patch.layers)
    assert [len(patch.edges) - 1 for patch in own] == [4, 4]
    assert len(rewrite.portable(read, head.find(read), None, None).edges) - 1 == 2


def test_more_devices_than_blocks() -> None:
    """There are as many blocks as devices at least: none is idle."""
    assert len(passed(replace(CPU, numbers=(0, 1, 2)), blocks=2).blocks) == 3


def ready(devices: int = 1) -> tuple[live.PreparedModel, LanePool]:
    """A fleet of sessions with six blocks, and what they run."""
    read = model.read(network())
    first = next(sources.open_source(read, {"x": X[:10]}, None).batches(10))
    device = replace(CPU, numbers=tuple(range(devices)))
    made = live.prepare_model(read, head.find(read), feeding.FeedPlan(10, False, 0, None), first, device)
    sessions = [made.session, *(made.another(number) for number in range(1, devices))]
    return made, LanePool(sessions, made.patch, live.pilot_shift(made, first), blocks=6)


def test_devices_work_at_the_same_time() -> None:
    """Work for two devices overlaps: each waits until the other has begun."""
    _, fleet = ready(2)
    together = threading.Barrier(2, timeout=20)
    with fleet:
        for block in range(2):
            fleet.add(lambda *_: together.wait(), block)
        fleet.settle()


def test_errors_of_a_device_come_out() -> None:
    """What fails on one of several devices fails the pass, at the latest when it settles."""

    def fail(*_: object) -> None:
        raise ModelError("it fails", "another", "Try it.")

    _, fleet = ready(2)
    with fleet, refused(ModelError, "it fails"):
        fleet.add(fail, 1)
        fleet.settle()


def test_devices_do_not_hoard() -> None:
    """No more batches wait for a device than it can begin with at once: reading stops meanwhile."""
    _, fleet = ready(2)
    gate, begun = threading.Event(), []

    def work(*_: object) -> None:
        begun.append(time.monotonic())
        gate.wait(20)

    def feed() -> None:
        for _ in range(5):
            fleet.add(work, 0)
            added.append(None)

    added: list[None] = []
    with fleet:
        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        feeder.join(0.3)
        assert feeder.is_alive() and len(added) == 2
        gate.set()
        feeder.join(20)
        fleet.settle()
    assert len(begun) == 5


def test_totals_wait_for_nobody() -> None:
    """Who asks for the sums so far goes on; each lane gives its own when it has done what it was given before."""
    made, fleet = ready(2)
    gate = threading.Event()

    def slow(accumulator: Accumulator, block: int) -> None:
        gate.wait(20)
        accumulator.add([made.feed(Batch({"x": X[:10]}, None, 10))], block)

    with fleet:
        fleet.add(slow, 0)
        first, second = fleet.totals()
        assert second.result(20).sums[0][0, 0] == 0
        assert not first.done()
        gate.set()
        assert first.result(20).sums[0][0, 0] == 10  # the sum of 1 over the rows
        fleet.add(slow, 2)
        assert sum(each.result(20).sums[0][0, 0] for each in fleet.totals()) == 20


def test_a_failed_batch_leaves_the_sums() -> None:
    """A batch that the runtime refuses changes nothing; restored sums go on as if never read."""
    made, _ = ready()
    accumulator = Accumulator(made.session, made.patch, np.zeros(12), blocks=[0, 1])
    accumulator.add([{"x": X[:10]}], 0)
    before = [array.copy() for array in accumulator.read(0)]
    with pytest.raises(ModelError, match="it fails on this batch"):
        accumulator.add([{"x": X[:10, :5].copy()}], 0)
    for a, b in zip(before, accumulator.read(0), strict=True):
        np.testing.assert_array_equal(a, b)
    accumulator.restore(1, before)
    for block in (0, 1):
        accumulator.add([{"x": X[10:30]}], block)
    for a, b in zip(accumulator.read(0), accumulator.read(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert before[0][0, 0] == 10


def test_nodes_are_counted_by_provider() -> None:
    """The result says who ran how many nodes of the graph, those of the patch among them."""
    counted = passed().nodes
    assert counted.keys() == {"CPUExecutionProvider"}
    assert counted["CPUExecutionProvider"] > 5


# A batch of 2 000 rows makes a tensor of 1.6 GB, and the address space ends below: the runtime says so; half fits.
SCARCE = """
import resource, numpy as np, onnxrich
from zoo_text import build
resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))
rng = np.random.default_rng(0)
w, v = rng.standard_normal((6, 8)).astype(np.float32), rng.standard_normal((8, 3)).astype(np.float32)
shape = np.array([1, 200_000], dtype=np.int64)
body = '''
  a = MatMul(x, w)
  zeros = ConstantOfShape(shape)
  first = Gather<axis = 1>(x, at)
  wide = Mul(first, zeros)
  sum = ReduceMax<keepdims = 1, axes = [1]>(wide)
  b = Add(a, sum)
  h = Relu(b)
  y = MatMul(h, v)
'''
proto = build(body, x='float[N,6] x', y='float[N,3] y', w=w, v=v, shape=shape, at=np.array([0]))
x = rng.standard_normal((4000, 6)).astype(np.float32)
for size in (%s):
    made = onnxrich.run(proto, {'x': x}, batch_size=size, device='cpu')
    print(made.metrics['d_lr'], made.moments.n, [notice.message for notice in made.notices if 'batch' in notice.code])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_a_batch_that_memory_does_not_hold_is_run_in_parts() -> None:
    """Out of memory, a batch is halved until it fits; every row counts once, and the result says so."""
    done = subprocess.run(
        [sys.executable, "-c", SCARCE % "2000, 100"], capture_output=True, text=True, check=True, cwd="tests"
    )
    scarce, plain = done.stdout.splitlines()
    d_lr, n, told = scarce.split(" ", 2)
    assert (n, plain.split(" ")[1]) == ("4000.0", "4000.0")
    assert float(d_lr) == pytest.approx(float(plain.split(" ")[0]), abs=1e-6)
    assert told.startswith("['Memory did not hold batches of 2000: they were run in parts of ")
    assert plain.endswith("[]")


def test_memory_that_shrinks_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a later batch finds less memory than the first, it is run in parts; every row counts once."""
    real, sizes = Accumulator.add, []

    def scarce(self: Accumulator, feeds: list[dict], block: int) -> None:
        rows = len(feeds[0]["x"])
        sizes.append(rows)
        if len(sizes) > 1 and rows > 6:
            raise session.OutOfMemoryError("memory ran out", "room", "Pass less.")
        real(self, feeds, block)

    whole = passed(batch=25, blocks=2)
    monkeypatch.setattr(Accumulator, "add", scarce)
    made = passed(batch=25, blocks=2)
    assert sizes == [25, 25, 12, 6, 6, 6, 6, 1, *[6, 6, 6, 6, 1] * 2]
    assert [block.n for block in made.blocks] == [block.n for block in whole.blocks] == [50, 50]
    scale = np.abs(whole.moments.matrix).max()
    np.testing.assert_allclose(made.moments.matrix / scale, whole.moments.matrix / scale, atol=1e-14)
    assert [notice.code for notice in made.notices] == ["batch_halved"]
    # What a second pass over the data, for readouts, is run with.
    assert made.batch_size == 6


def test_a_failed_run_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """When half of a batch is tried, what the whole one had taken is let go of."""
    real, taken, alive = Accumulator.add, list[weakref.ref](), list[int]()

    def scarce(self: Accumulator, feeds: list[dict], block: int) -> None:
        alive.append(sum(ref() is not None for ref in taken))
        inputs = np.zeros(1000)
        taken.append(weakref.ref(inputs))
        if len(feeds[0]["x"]) > 6:
            raise session.OutOfMemoryError("memory ran out", "room", "Pass less.")
        real(self, feeds, block)

    monkeypatch.setattr(Accumulator, "add", scarce)
    assert passed(batch=25, blocks=2).moments.n == 100
    assert alive == [0] * len(alive)


@pytest.mark.parametrize("part", ["model", "moments"])
def test_no_room_for_what_no_smaller_batch_changes(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Where the model itself or the moments find no memory, no batch is halved."""

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    names = {"model": "InferenceSession", "moments": "OrtValue.ortvalue_from_numpy"}
    monkeypatch.setattr(f"onnxruntime.{names[part]}", full)
    with refused(ModelError, "memory ran out", {"model": "another --device", "moments": "fewer --blocks"}[part]):
        passed(batch=25, blocks=2)
