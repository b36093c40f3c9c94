"""idx files: every type of number, packed and not, and refused when they are damaged."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_text import blocks_of, read_all, refused, source_of, table_of, two_layers, within

from onnxrich.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}
X = np.arange(60).reshape(10, 6)


def content(array: np.ndarray, code: int = 0x08) -> bytes:
    """The bytes of an idx file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def save(folder: Path, data: bytes, packed: bool) -> Path:
    path = folder / ("d-ubyte.gz" if packed else "d-ubyte")
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_types(dtype: str, packed: bool, tmp_path: Path) -> None:
    """Every type that the format has, in big-endian byte order, comes out right."""
    path = save(tmp_path, content(X.astype(dtype), CODES[dtype]), packed)
    for size in (1, 3, 10, 11):
        assert np.concatenate(list(blocks_of(table_of(path), "array", size))).tolist() == X.tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_any_part(packed: bool, tmp_path: Path) -> None:
    """A range of rows can be read without those before it; row numbers in any order where the file is not packed."""
    table = table_of(save(tmp_path, content(X.astype("u1")), packed))
    blocks = [block.arrays["array"] for block in table.read(["array"], range(4, 9), 3)]
    assert np.concatenate(blocks).tolist() == X[4:9].tolist()
    assert table.random is not packed


@pytest.mark.parametrize("packed", [False, True])
def test_drawn_at_random(packed: bool, tmp_path: Path) -> None:
    """Rows may be drawn from both."""
    path = save(tmp_path, content(X.astype(">f4"), 0x0D), packed)
    rows, _ = read_all(source_of(two_layers(), path, reading={"shuffle": True, "limit": 7}, seed=3), 4)
    expected = X[np.random.default_rng(3).permutation(10)[:7]]
    np.testing.assert_array_equal(rows["x"], expected)


@pytest.mark.parametrize("packed", [False, True])
def test_cut_off(packed: bool, tmp_path: Path) -> None:
    """A file cut off anywhere is refused."""
    whole = content(X.astype("u1"))
    for length in range(len(whole)):
        path = save(tmp_path, whole[:length], packed)
        with refused(DataError, f"{path.name} ", "needed: a whole "):
            list(blocks_of(table_of(path), "array", 4))
    packed_whole = gzip.compress(whole)
    for length in range(0, len(packed_whole), 3):
        (tmp_path / "e-ubyte.gz").write_bytes(packed_whole[:length])
        with refused(DataError, "e-ubyte.gz "):
            list(blocks_of(table_of(tmp_path / "e-ubyte.gz"), "array", 4))


@pytest.mark.parametrize(
    "start", [b"\0\0\x08\0", b"\0\0\x08\xff", b"\0\0\x07\1", b"\1\0\x08\1", b"\x1f\x8b\x08\0", b"\0\0\x08\x09"]
)
def test_no_header(start: bytes, tmp_path: Path) -> None:
    """Another magic number, type or number of axes is refused."""
    with refused(DataError, "d-ubyte is damaged or no idx file (no header of an idx file); needed: a whole idx file."):
        table_of(save(tmp_path, start + b"\0" * 100, False))


def test_a_header_that_claims_much(tmp_path: Path) -> None:
    """What a header claims is compared with the file before anything is made for it."""
    claim = b"\0\0\x08\x02" + (2**31).to_bytes(4, "big") * 2
    with refused(
        DataError, "d-ubyte has 3 bytes of data, and its header claims 4,611,686,018,427,387,904; needed: a who"
    ):
        table_of(save(tmp_path, claim + b"abc", False))
    with refused(DataError, "d-ubyte.gz has 3 bytes of data, and its header claims"):
        next(
            blocks_of(
                table_of(save(tmp_path, b"\0\0\x08\x02" + (2**20).to_bytes(4, "big") * 2 + b"abc", True)), "array", 1
            )
        )


def test_bytes_after_the_end(tmp_path: Path) -> None:
    """A file longer than it says is no whole file either."""
    with refused(DataError, "d-ubyte has 63 bytes of data, and its header claims 60"):
        table_of(save(tmp_path, content(X.astype("u1")) + b"abc", False))


def test_fifo(tmp_path: Path) -> None:
    """A FIFO is refused at once."""
    os.mkfifo(tmp_path / "d-ubyte.gz")
    with within(5), refused(DataError, "d-ubyte.gz is no regular file; needed: a readable idx file."):
        table_of(tmp_path / "d-ubyte.gz")


def test_any_damage(tmp_path: Path) -> None:
    """Bytes changed at random in a packed file give an error, or other rows: never another exception."""
    whole = gzip.compress(content(X.astype("u1")))
    chance = random.Random(0)
    refusals = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "d-ubyte.gz").write_bytes(damaged)
        try:
            blocks: Any = list(blocks_of(table_of(tmp_path / "d-ubyte.gz"), "array", 4))
        except DataError:
            refusals += 1
        else:
            assert blocks
    assert refusals > 100
