"""The batch size that is chosen when none is asked for: from sizes alone, so that two runs cut the rows alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from zoo_text import build, source_of

from onnxrich.engine.sizing import choose_batch_size, choose_block_count
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.head.head import Head


def chosen(x: str, data: np.ndarray, *, n: int | None = None, **options: object) -> int:
    """The size for a model that averages its input over all axes but the first, then has a head of 8 features."""
    body = (
        "flat = Cast<to = 1>(x)\n some = Flatten<axis = 1>(flat)\n m = ReduceMean<axes = [1], keepdims = 1>(some)\n"
        "a = MatMul(m, w0)\n h = Relu(a)\n y = MatMul(h, w2)"
    )
    proto = build(body, x=x, w0=np.ones((1, 8), np.float32))
    model_file = read_model(proto)
    source = replace(source_of(proto, data), n=n)
    model_head: Head = head.find_head(model_file)
    options = {"memory": "cpu"} | options
    return choose_batch_size(model_file, model_head, source, **options)


VECTOR = np.zeros((2, 784), np.float32)


def test_vectors() -> None:
    """8 MiB of rows, 2 048 at most; more of both on a GPU."""
    assert chosen("float[N,784] x", VECTOR) == 2048
    assert chosen("float[N,784] x", VECTOR, memory="cuda") == 4096
    assert chosen("float[N,20000] x", np.zeros((2, 20000), np.float32)) == 64


@pytest.mark.parametrize(("side", "expected"), [(32, 64), (224, 8)])
def test_images(side: int, expected: int) -> None:
    """1 MiB of images: their channels become many. Never less than eight."""
    assert chosen(f"float[N,3,{side},{side}] x", np.zeros((2, 3, side, side), np.float32)) == expected


def test_few_rows_are_spread_over_the_blocks() -> None:
    """There are as many batches as blocks, unless they would be tiny; without blocks there is no need."""
    assert chosen("float[N,784] x", VECTOR, n=1000) == -(-1000 // 16)
    assert chosen("float[N,784] x", VECTOR, n=40) == 8
    assert chosen("float[N,784] x", VECTOR, n=1000, blocks=0) == 1000


def test_tokens() -> None:
    """Tokens become vectors and outputs: long rows of them make small batches."""
    rows = np.zeros((2, 4096), np.int64)
    # 12 bytes (float32 and double) × 4096 tokens × (8 features + 3 outputs) a row, in 1 GiB: 1985 rows, a power of two.
    assert chosen("int64[N,4096] x", rows) == 256  # 8 MiB of int64
    wide = np.zeros((2, 2**20), np.int64)
    assert chosen(f"int64[N,{2**20}] x", wide) == 4  # 8 rows would take 1.1 GiB


def test_asked_for() -> None:
    """What is asked for is taken; where the model fixes the size, a multiple of it."""
    assert chosen("float[N,784] x", VECTOR, requested=77) == 77
    assert chosen("float[10,784] x", np.zeros((20, 784), np.float32), requested=77) == 70


@pytest.mark.parametrize(("d", "blocks"), [(100, 16), (2896, 16), (2897, 14), (5792, 4), (5793, 1)])
def test_blocks_fit_into_a_gibibyte(d: int, blocks: int) -> None:
    """Sixteen blocks, an even number of fewer when they are large, and a single one when fewer than four would fit."""
    assert choose_block_count(d, None) == blocks
    assert choose_block_count(d, 7) == 7
    assert choose_block_count(d, 0) == 1
