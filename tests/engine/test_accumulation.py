"""Blocks in one lane and in several, and batches that memory does not hold."""

from __future__ import annotations

import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
from zoo_text import build, refused

from onnxrich.data import open as sources
from onnxrich.engine.accumulation import Accumulation
from onnxrich.engine.batches import Batches
from onnxrich.engine.layers import LayerRequest
from onnxrich.engine.result import PassResult
from onnxrich.engine.runtime import Accumulator, Device, OutOfMemoryError, choose_device
from onnxrich.engine.single_pass import _choose_lanes, measure_one, prepare_pass
from onnxrich.errors import ModelError
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite
from onnxrich.progress import Timing

CPU = choose_device("cpu")
X = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
Y = np.arange(100) % 3


def network() -> bytes:
    """A 6-8-3 network."""
    rng = np.random.default_rng(1)
    shapes = {"w": (6, 8), "v": (8, 3), "c": (3,)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    body = "a = MatMul(x, w)\n h = Relu(a)\n y = Gemm(h, v, c)"
    return build(body, **tensors).SerializeToString()


def measure(device: Device = CPU, **options: object) -> PassResult:
    """One pass over the rows."""
    read = read_model(network())
    source = sources.open_source(read, {"x": X, "labels": Y}, None)
    options = {"batch_size": 7, "device": device} | options
    return measure_one(read, head.find_head(read), source, **options)


def test_blocks_are_the_batches_dealt_in_turn() -> None:
    """Block g holds the rows of the batches b ≡ g, and no others; all of them make the whole."""
    result = measure(blocks=4)
    a = np.maximum(X.astype(float) @ np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32), 0)
    for g, block in enumerate(result.blocks):
        rows = np.concatenate([a[start : start + 7] for start in range(7 * g, 100, 28)])
        assert block.n == len(rows)
        # Float32 activations: each product is exact to some 1e-7 of its size.
        np.testing.assert_allclose(block.raw("features", "features"), rows.T @ rows, rtol=1e-5, atol=1e-4)
    assert result.moments.n == sum(block.n for block in result.blocks) == 100
    whole = measure(blocks=0)
    assert whole.blocks == ()
    scale = np.abs(whole.moments.matrix).max()
    np.testing.assert_allclose(result.moments.matrix / scale, whole.moments.matrix / scale, atol=1e-14)


@pytest.mark.parametrize("devices", [2, 3, 5])
def test_several_devices_give_the_same_bits(devices: int) -> None:
    """Sums don't depend on how many sessions share the work: here several on the CPU, each in a thread of its own."""
    one, several = measure(blocks=5), measure(replace(CPU, numbers=tuple(range(devices))), blocks=5)
    np.testing.assert_array_equal(one.moments.matrix, several.moments.matrix)
    assert one.moments.tallies == several.moments.tallies
    for a, b in zip(one.blocks, several.blocks, strict=True):
        np.testing.assert_array_equal(a.matrix, b.matrix)


@pytest.mark.parametrize("lanes", [2, 3])
def test_runs_at_once_give_the_same_bits(lanes: int) -> None:
    """Nor do they depend on how many runs go on at once in a session."""
    read, one = read_model(network()), measure(blocks=6)
    source = sources.open_source(read, {"x": X, "labels": Y}, None)
    with Batches(source, 7) as batches:
        prepared = prepare_pass(
            read, head.find_head(read), source, batches=batches, mask=None, blocks=6, device=replace(CPU, lanes=lanes),
            size=7, timing=Timing(), listen=lambda _: None,
        )  # fmt: skip
        accumulation = Accumulation(prepared, residual=0.0, blocks=6)
        assert len(accumulation.lanes.request_sums()) == lanes
        with accumulation.lanes:
            accumulation.add_all(batches, total=100, timing=Timing(), listen=lambda _: None)
        for a, b in zip(one.blocks, accumulation.drain_head(), strict=True):
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
    result = measure(batch_size=batch, blocks=blocks, memory=memory)
    assert result.prepared.session.device.lanes == lanes
    assert result.moments.n == 100


def test_another_provider_gets_one_run_at_a_time() -> None:
    """Providers with threads of their own share the cores as they see fit."""
    read = read_model(network())
    source = sources.open_source(read, {"x": X}, None)
    other = replace(CPU, provider="OpenVINOExecutionProvider")
    assert _choose_lanes(other, head.find_head(read), source, size=1, blocks=None) == other


def test_tiles_are_those_of_the_memory() -> None:
    """On a CPU tiles fit a core's cache; larger ones are for GPUs, and for models that others drive."""
    body, wide = "a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v)", np.ones((6, 700), np.float32)
    read = read_model(build(body, w=wide, v=np.ones((700, 3), np.float32)))
    source = sources.open_source(read, {"x": X}, None)
    result = measure_one(read, head.find_head(read), source, device=CPU, layers=LayerRequest(("a",))).prepared
    own = (result.patch, *result.patch.layers)
    assert [len(patch.edges) - 1 for patch in own] == [4, 4]
    assert len(rewrite.instrument_portable(read, head.find_head(read), None, None).edges) - 1 == 2


def test_more_devices_than_blocks() -> None:
    """There are as many blocks as devices at least: none is idle."""
    assert len(measure(replace(CPU, numbers=(0, 1, 2)), blocks=2).blocks) == 3


def test_nodes_are_counted_by_provider() -> None:
    """The result says who ran how many nodes of the graph, those of the patch among them."""
    counted = measure().nodes
    assert counted.keys() == {"CPUExecutionProvider"}
    assert counted["CPUExecutionProvider"] > 5


# A batch of 2 000 rows makes a tensor of 1.6 GB, and the address space ends below: the runtime says so; half fits.
SCARCE = """
import resource, numpy as np, onnxrich
from zoo_text import build
resource.setrlimit(resource.RLIMIT_AS, (7 << 28, 7 << 28))
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
    result = onnxrich.run(proto, {'x': x}, batch_size=size, device='cpu')
    notices = [notice.message for notice in result.notices if 'batch' in notice.code]
    print(result.metrics['d_lr'], result.moments.n, notices)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_a_batch_that_memory_does_not_hold_is_run_in_parts() -> None:
    """Out of memory, a batch is halved until it fits; every row counts once, and the result says so."""
    done = subprocess.run(
        [sys.executable, "-c", SCARCE % "2000, 100"], capture_output=True, text=True, check=True, cwd="tests"
    )
    scarce, plain = done.stdout.splitlines()
    d_lr, n, notices = scarce.split(" ", 2)
    assert (n, plain.split(" ")[1]) == ("4000.0", "4000.0")
    assert float(d_lr) == pytest.approx(float(plain.split(" ")[0]), abs=1e-6)
    assert notices.startswith("['Memory did not hold batches of 2000: they were run in parts of ")
    assert plain.endswith("[]")


def test_memory_that_shrinks_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a later batch finds less memory than the first, it is run in parts; every row counts once."""
    add, sizes = Accumulator.add, list[int]()

    def scarce(self: Accumulator, feeds: list[dict], block: int) -> None:
        rows = len(feeds[0]["x"])
        sizes.append(rows)
        if len(sizes) > 1 and rows > 6:
            raise OutOfMemoryError("memory ran out", "room", "Pass less.")
        add(self, feeds, block)

    whole = measure(batch_size=25, blocks=2)
    monkeypatch.setattr(Accumulator, "add", scarce)
    result = measure(batch_size=25, blocks=2)
    assert sizes == [25, 25, 12, 6, 6, 6, 6, 1, *[6, 6, 6, 6, 1] * 2]
    assert [block.n for block in result.blocks] == [block.n for block in whole.blocks] == [50, 50]
    scale = np.abs(whole.moments.matrix).max()
    np.testing.assert_allclose(result.moments.matrix / scale, whole.moments.matrix / scale, atol=1e-14)
    assert [notice.code for notice in result.notices] == ["batch_halved"]
    # What a second pass over the data, for readouts, is run with.
    assert result.batch_size == 6


def test_a_failed_run_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """When half of a batch is tried, the memory of the whole one is released."""
    add, allocated, alive = Accumulator.add, list[weakref.ref](), list[int]()

    def scarce(self: Accumulator, feeds: list[dict], block: int) -> None:
        alive.append(sum(ref() is not None for ref in allocated))
        inputs = np.zeros(1000)
        allocated.append(weakref.ref(inputs))
        if len(feeds[0]["x"]) > 6:
            raise OutOfMemoryError("memory ran out", "room", "Pass less.")
        add(self, feeds, block)

    monkeypatch.setattr(Accumulator, "add", scarce)
    assert measure(batch_size=25, blocks=2).moments.n == 100
    assert alive == [0] * len(alive)


@pytest.mark.parametrize("part", ["model", "moments"])
def test_no_room_for_what_no_smaller_batch_changes(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Where the model itself or the moments find no memory, no batch is halved."""

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory")

    names = {"model": "InferenceSession", "moments": "OrtValue.ortvalue_from_numpy"}
    monkeypatch.setattr(f"onnxruntime.{names[part]}", full)
    with refused(ModelError, "memory ran out", {"model": "another --device", "moments": "fewer --blocks"}[part]):
        measure(batch_size=25, blocks=2)
