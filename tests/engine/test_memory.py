"""What does not fit into memory is refused before the start."""

from __future__ import annotations

import pytest

import onnxrich
from onnxrich.engine.layers import HiddenLayer
from onnxrich.engine.memory import fit_blocks, fit_lanes
from onnxrich.errors import ModelError
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.head.layers import LayerTensor
from onnxrich.model.head.pooling import Pool
from onnxrich.model.patch.instrument import Patch, instrument
from onnxrich.pipelines.options import RunOptions
from onnxrich.pipelines.run import run


@pytest.fixture
def patch() -> Patch:
    """The demo's head, of d = 1 + 160 + 10, beside a layer of width 20 000: d = 20 011."""
    model_file = read_model(onnxrich.demo_file("rich.onnx"))
    model_head = head.find_head(model_file)
    wide = HiddenLayer(LayerTensor("wide", "Gemm"), Pool("as it is", 2, 0, 1), 20_000)
    own = instrument(model_file, model_head)
    return own.with_layers([instrument(model_file, wide.with_outputs(model_head), base=own, name="layer.0.")])


def test_memory_is_refused_with_the_numbers(patch: Patch) -> None:
    """The message says how much is needed and allowed, and which layers are the widest."""
    with pytest.raises(ModelError) as caught:
        fit_blocks(patch, ["wide"], blocks=None, memory=2**34)
    # 8d² is 2.98 GiB, and twelve tiles a side hold 13/24 of it. Two sets for one block and five copies are 18.2 GiB.
    message = str(caught.value)
    assert "the moments of 1 layer in 1 block take 18.2 GiB of memory" in message
    assert "at most 8 GiB, 50% of --max-memory" in message
    assert "Pass fewer layers as --layers NAME,…, or a larger --max-memory." in message
    assert "The widest are 'wide' (d = 20,011: 2.98 GiB a block)" in message


def test_fewer_blocks_are_kept_when_memory_is_short(patch: Patch) -> None:
    """As many blocks as fit, unless a number is asked for, which then is refused."""
    assert fit_blocks(patch, ["wide"], blocks=None, memory=2**38) == 16
    assert 4 <= fit_blocks(patch, ["wide"], blocks=None, memory=2**36 + 2**35) < 16
    assert fit_blocks(patch, ["wide"], blocks=None, memory=2**35 + 2**33) == 1
    assert fit_blocks(patch, ["wide"], blocks=0, memory=2**38) == 1
    # 17 sets at 13/24 and 20 whole copies: 29.2 · 2.98 GiB.
    with pytest.raises(ModelError, match=r"in 16 blocks take 87.1 GiB.*Pass --blocks 0, fewer layers"):
        fit_blocks(patch, ["wide"], blocks=16, memory=2**36)


def test_runs_at_once_fit_into_memory(patch: Patch) -> None:
    """Each further one takes a spare set, 13/24 of 2.98 GiB, and what a run takes; they share the blocks evenly."""
    # For a single one 16 blocks take 87.1 GiB; three more spare sets 4.85 GiB, and 3 GiB for three runs.
    limits: dict = {"blocks": 16, "lanes": 4, "lane_bytes": 2**30}
    for gibibytes, lanes in ((94.5, 1), (95.5, 4)):
        assert fit_lanes(patch, **limits, memory=int(2 * gibibytes * 2**30)) == lanes
    assert fit_lanes(patch, blocks=14, lanes=4, lane_bytes=0, memory=2**40) == 1
    assert fit_lanes(patch, blocks=1, lanes=1, lane_bytes=0, memory=1) == 1


def test_the_whole_run_refuses() -> None:
    """A run with too little memory for its layers ends before the first batch."""
    data = onnxrich.demo_file("evaluation.npz")
    with pytest.raises(ModelError, match=r"of memory; needed: at most 0\.5 MiB"):
        run(
            onnxrich.demo_file("rich.onnx"),
            RunOptions(data=data, layers=["all"], max_memory=2**20, isolate=True, device="cpu"),
        )


def test_more_blocks_than_memory_holds_are_refused() -> None:
    """Any number of blocks can be asked for; one that does not fit is refused before the first batch."""
    model, data = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
    # 8d² of d = 1 + 160 + 10 + 10 is 256 KiB, in one tile: (10⁷ + 1) + (10⁷ + 4) of them are 4.77 TiB.
    with pytest.raises(ModelError, match=r"the moments in 10000000 blocks take 4,88\d GiB of memory.*fewer --blocks"):
        onnxrich.run(model, data, blocks=10**7, device="cpu")
