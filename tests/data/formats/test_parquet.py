"""Parquet: files that expand, folders, and paths in a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.files import X, png
from zoo_text import blocks_of, build, read_all, refused, source_of, table_of, two_layers

from onnxrich.data.formats import parquet
from onnxrich.errors import DataError


def test_a_parquet_that_expands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some kilobytes that stands for many rows is read in blocks, and refused where it must be unpacked."""
    monkeypatch.setattr(parquet, "MAX_LOADED_BYTES", 2**22)
    pq.write_table(pa.table({"x": np.zeros(2**20)}), tmp_path / "d.parquet", compression="zstd")
    assert (tmp_path / "d.parquet").stat().st_size < 2**13
    model = build(
        "a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v)", x="double[N,1] x", y="double[N,2] y",
        w=np.ones((1, 3)), v=np.ones((3, 2)),
    )  # fmt: skip
    table = table_of(tmp_path / "d.parquet")
    assert table.fields["x"].shape == (2**20,)
    assert len(next(blocks_of(table, "x", 512))) == 512
    with refused(
        DataError, "d.parquet unpacks to more than 4,194,304 bytes; needed: less, to draw rows from at random."
    ):
        next(source_of(model, tmp_path / "d.parquet", reading={"shuffle": True}).batches(5))


def test_parquets_with_other_columns(tmp_path: Path) -> None:
    """A folder of files that don't belong together is refused."""
    for name, column in (("a", "x"), ("b", "z")):
        pq.write_table(pa.table({column: X.tolist()}), tmp_path / f"{name}.parquet")
    with refused(DataError, "b.parquet has other columns than a.parquet; needed: the same columns. Pass one file."):
        source_of(two_layers(), tmp_path)


def test_paths_in_a_table_are_not_followed(tmp_path: Path) -> None:
    """An image that is a path alone is no image: nothing is read because a file names it."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}], kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "d.parquet")
    model = build("h = Relu(x)", x="float[N,1,H,W] x", y="float[N,1,H,W] h")
    with refused(DataError, "d.parquet, row 0: no image"):
        read_all(source_of(model, tmp_path / "d.parquet", preprocessing={"scale": 1.0}), 1)


def test_a_missing_label_beside_a_good_image(tmp_path: Path) -> None:
    """A row that is left out for its label is left out with its image."""
    pq.write_table(pa.table({"image": [png(1), png(2), b"none"], "label": [None, 3, 4]}), tmp_path / "d.parquet")
    model = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")
    (batch,) = source_of(model, tmp_path / "d.parquet", reading={"max_errors": 2}).batches(5)
    assert batch.inputs["x"][:, 0, 0, 0].tolist() == [2]
    assert batch.labels is not None and batch.labels.tolist() == [3]


def test_numbers_that_repeat_without_end(tmp_path: Path) -> None:
    """One number may stand for any number of rows: a thousand times its size is refused where it is much."""
    zeros = pa.table({"x": pa.array(np.zeros(40_000_000))})
    pq.write_table(zeros, tmp_path / "d.parquet", row_group_size=len(zeros))
    with refused(DataError, "d.parquet has ", "and claims to unpack to 320,000,000", "at most 1,000 times its size"):
        table_of(tmp_path / "d.parquet")
