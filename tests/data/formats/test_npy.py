"""`.npy` files: mapped into memory, and refused when not whole. What they share with `.npz` is tested there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_text import blocks_of, build, read_all, refused, source_of, table_of, two_layers

from onnxrich.errors import DataError

X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


@pytest.mark.parametrize("order", ["C", "F"])
def test_mapped_not_read(order: Any, tmp_path: Path) -> None:
    """Blocks are views of the mapped file, and can't be written to."""
    np.save(tmp_path / "d.npy", np.asarray(X, order=order))
    block = next(blocks_of(table_of(tmp_path / "d.npy"), "d", 5))
    assert isinstance(block, np.memmap)
    assert not block.flags.writeable
    np.testing.assert_array_equal(block, X[:5])


def test_a_sparse_giant(tmp_path: Path) -> None:
    """A file of 64 GiB, nearly all of it a hole, opens at once: rows are read as they are used."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2863311530, 6), }"
    header += b" " * (128 - 10 - len(header) - 1) + b"\n"
    with (tmp_path / "d.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        file.truncate(128 + 2863311530 * 24)
    source = source_of(two_layers(), tmp_path / "d.npy")
    assert source.n == 2863311530
    assert not next(source.batches(100)).inputs["x"].any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_truncated(order: Any, tmp_path: Path) -> None:
    """Cut off anywhere, the file is refused."""
    np.save(tmp_path / "whole.npy", np.asarray(X, order=order))
    whole = (tmp_path / "whole.npy").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "d.npy").write_bytes(whole[:length])
        with refused(DataError, "d.npy", "needed: a whole"):
            source_of(two_layers(), tmp_path / "d.npy")
    (tmp_path / "d.npy").write_bytes(whole[:-1])
    with refused(
        DataError,
        "d.npy has 959 bytes of data, and its header claims 960; needed: a whole file. Save or copy it again.",
    ):
        source_of(two_layers(), tmp_path / "d.npy")


def test_bytes_after_the_end(tmp_path: Path) -> None:
    """A file longer than its header says is no whole file either."""
    np.save(tmp_path / "d.npy", X)
    with (tmp_path / "d.npy").open("ab") as file:
        file.write(b"more")
    with refused(DataError, "d.npy has 964 bytes of data, and its header claims 960"):
        source_of(two_layers(), tmp_path / "d.npy")


@pytest.mark.parametrize("shape", ["(1073741824, 1)", "(-1, 6)", "(0, -1)", "(4294967296, 4294967296)"])
def test_header_claims_too_much(shape: str, tmp_path: Path) -> None:
    """A header that claims gigabytes over some bytes is refused."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (128 - 10 - len(header) - 1) + b"\n"
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 96)
    with refused(DataError, "d.npy has 96 bytes of data, and its header claims "):
        source_of(two_layers(), tmp_path / "d.npy")


def test_several_inputs(tmp_path: Path) -> None:
    """One array can't feed two inputs."""
    np.save(tmp_path / "d.npy", X)
    proto = build("h = Add(x, b)", x="float[N,6] x, float[N,6] b", y="float[N,6] h")
    with refused(
        DataError, "d.npy holds 'd', and nothing for 'x', 'b'; needed: arrays named as the model's inputs: 'x"
    ):
        source_of(proto, tmp_path / "d.npy")


def test_any_damage_is_an_error_or_none(tmp_path: Path) -> None:
    """Headers changed at random give the rows or a DataError, never another exception."""
    np.save(tmp_path / "whole.npy", X[:8])
    whole = (tmp_path / "whole.npy").read_bytes()
    chance = random.Random(0)
    refusals = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(80)] = chance.choice(b"()[]{}'\",:0123456789OUSVfic<>|\0\n\xff #\\")
        (tmp_path / "d.npy").write_bytes(content)
        try:
            read_all(source_of(two_layers(), tmp_path / "d.npy"), 3)
        except DataError:
            refusals += 1
    assert refusals > 200
