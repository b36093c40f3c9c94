"""What does not fit into memory is refused before the start."""

from __future__ import annotations

import pytest

import onnxrich
from onnxrich import head, model, pipeline
from onnxrich.depth import Hidden
from onnxrich.errors import ModelError
from onnxrich.fitting import fitting_blocks, fitting_lanes
from onnxrich.head.layers import Site
from onnxrich.head.pooling import Pool
from onnxrich.rewrite import Patch, instrument


@pytest.fixture
def patch() -> Patch:
    """The demo's head, of d = 1 + 160 + 10, beside a layer of width 20 000: d = 20 011."""
    read = model.read(onnxrich.demo_file("rich.onnx"))
    found = head.find(read)
    wide = Hidden(Site("wide", "Gemm"), Pool("as it is", 2, 0, 1), 20_000)
    own = instrument(read, found)
    return own.beside([instrument(read, wide.head(found), beside=own, name="layer.0.")])


def test_memory_is_refused_with_the_numbers(patch: Patch) -> None:
    """The message says how much is needed and allowed, and which layers are the widest."""
    with pytest.raises(ModelError) as caught:
        fitting_blocks(patch, ["wide"], blocks=None, lanes=1, memory=2**34)
    # 8d² is 2.98 GiB, and twelve tiles a side hold 13/24 of it. Two sets for one block and five copies are 18.2 GiB.
    message = str(caught.value)
    assert "the moments of 1 layer in 1 block take 18.2 GiB of memory" in message
    assert "at most 8 GiB, 50% of --max-memory" in message
    assert "Pass fewer layers as --layers NAME,…, or a larger --max-memory." in message
    assert "The widest are 'wide' (d = 20,011: 2.98 GiB a block)" in message


def test_fewer_blocks_are_kept_when_memory_is_short(patch: Patch) -> None:
    """As many blocks as fit, unless a number is asked for, which then is refused."""
    assert fitting_blocks(patch, ["wide"], blocks=None, lanes=1, memory=2**38) == 16
    assert 4 <= fitting_blocks(patch, ["wide"], blocks=None, lanes=1, memory=2**36 + 2**35) < 16
    assert fitting_blocks(patch, ["wide"], blocks=None, lanes=1, memory=2**35 + 2**33) == 1
    assert fitting_blocks(patch, ["wide"], blocks=0, lanes=1, memory=2**38) == 1
    # 17 sets at 13/24 and 20 whole copies: 29.2 · 2.98 GiB.
    with pytest.raises(ModelError, match=r"in 16 blocks take 87.1 GiB.*Pass --blocks 0, fewer layers"):
        fitting_blocks(patch, ["wide"], blocks=16, lanes=1, memory=2**36)


def test_each_lane_takes_a_spare_set(patch: Patch) -> None:
    """Four runs at once write into four spare sets: three more at 13/24 of 2.98 GiB."""
    with pytest.raises(ModelError, match=r"in 16 blocks take 92 GiB"):
        fitting_blocks(patch, ["wide"], blocks=16, lanes=4, memory=2**36)


def test_runs_at_once_fit_into_memory() -> None:
    """As many as half of the memory holds, and one whatever it takes."""
    assert [fitting_lanes(2**20, 4, memory=memory << 20) for memory in (100, 8, 7, 2, 1)] == [4, 4, 3, 1, 1]
    assert fitting_lanes(0, 4, memory=2**20) == fitting_lanes(-(2**20), 4, memory=2**20) == 4


def test_the_whole_run_refuses() -> None:
    """A run with too little memory for its layers ends before the first batch."""
    data = onnxrich.demo_file("evaluation.npz")
    with pytest.raises(ModelError, match=r"of memory; needed: at most 0\.5 MiB"):
        pipeline.analyze(onnxrich.demo_file("rich.onnx"), data, layers=["all"], memory=2**20, device="cpu")


def test_more_blocks_than_memory_holds_are_refused() -> None:
    """Any number of blocks can be asked for; one that does not fit is refused before the first batch."""
    model, data = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
    # 8d² of d = 1 + 160 + 10 + 10 is 256 KiB, in one tile: (10⁷ + 1) + (10⁷ + 4) of them are 4.77 TiB.
    with pytest.raises(ModelError, match=r"the moments in 10000000 blocks take 4,88\d GiB of memory.*fewer --blocks"):
        onnxrich.run(model, data, blocks=10**7, device="cpu")
